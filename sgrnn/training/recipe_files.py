"""Reading recipes: YAML 1.2, overrides, and every mistake reported at once with its place."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.resources import files
from inspect import isclass
from io import StringIO
from os.path import expanduser
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from sgrnn.errors import InputError
from sgrnn.training.recipe import Recipe


def shipped_recipes() -> dict[str, str]:
    """The recipes that come with the package: name to text."""
    package = Path(str(files("sgrnn")))
    installed, checkout = package / "recipes", package.parent / "recipes"
    folder = installed if installed.is_dir() else checkout
    return {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.yaml"))}


def find_recipe(name: str) -> tuple[str, Path | None]:
    """The text of a recipe by its shipped name or its path, and the path if it was one.

    Raises:
        InputError: no such recipe, or a file that cannot be read.
    """
    shipped = shipped_recipes()
    if name in shipped:  # first, so that it is found whatever lies in the current folder
        return shipped[name], None
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.exists():
        try:
            return path.read_text("utf-8"), path
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the recipe {path}: {error}") from None
    if name.startswith("-"):
        raise InputError(f"name the recipe first, then its overrides: got {name} in its place")
    raise InputError(
        f"there is no recipe named {name!r}{_did_you_mean(name, shipped)}; "
        f"expected one of {', '.join(shipped)}, or the path of a .yaml file"
    )


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        name: of a shipped recipe, or the path of a file.
        overrides: ``--section.field=value`` (or the value as the next item), the value in YAML.

    Raises:
        InputError: all mistakes at once, each with file, line and dotted path.
    """
    text, path = find_recipe(name)
    return parse_recipe(text, str(path) if path else name, path.parent if path else None, overrides)


def parse_recipe(text: str, source: str, folder: Path | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """As `load_recipe`, from a text.

    Args:
        text: the YAML.
        source: what messages call it.
        folder: what paths in it are relative to; None for the current folder.
        overrides: as `load_recipe`.
    """
    yaml = YAML(typ="rt", pure=True)
    try:
        tree = yaml.load(text)
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{source}{line}: not valid YAML: {error.problem}") from None
    except YAMLError as error:
        raise InputError(f"{source}: not valid YAML: {error}") from None
    if not isinstance(tree, CommentedMap):
        found = "nothing" if tree is None else type(tree).__name__
        raise InputError(f"{source}: a recipe is a mapping of sections such as data, model, policy; got {found}")
    lines = dict(_lines(tree))
    plain = _plain(tree)
    _resolve_paths(plain, folder or Path())
    for field, value in _split_overrides(overrides):
        lines[field] = None
        for end in range(1, len(field)):
            lines.setdefault(field[:end], None)
        _override(plain, field, value)
    _resolve_paths(plain, Path())
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        mistakes = [_mistake(detail, source, lines) for detail in error.errors(include_url=False)]
        raise InputError("\n".join(mistakes)) from None


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe, defaults included, as YAML that reads back equal."""
    stream = StringIO()
    yaml = YAML(typ="rt", pure=True)  # keeps the order of the sections
    yaml.dump(recipe.model_dump(mode="json"), stream)
    return stream.getvalue()


def _split_overrides(overrides: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(("policy", "window"), 5) for "--policy.window=5" or "--policy.window", "5"; a kind comes before its fields."""
    items = list(overrides)
    found: list[tuple[tuple[str, ...], Any]] = []
    while items:
        item = items.pop(0)
        name, equals, value = item.partition("=")
        if not name.startswith("--") or "." not in name:
            raise InputError(f"command line: expected an override like --policy.window=5, got {item!r}")
        if not equals:
            if not items:
                raise InputError(f"command line: {name} needs a value, like {name}=5")
            value = items.pop(0)
        try:
            found.append((tuple(name[2:].split(".")), YAML(typ="safe", pure=True).load(value)))
        except YAMLError:
            raise InputError(f"command line: {name}: not a YAML value: {value!r}") from None
    yield from sorted(found, key=lambda pair: pair[0][-1] != "kind")


def _override(tree: dict[str, Any], field: tuple[str, ...], value: Any) -> None:
    kind = getattr(getattr(Recipe.model_fields.get(field[0]), "default", None), "kind", None)
    if kind is not None:  # a section that the recipe leaves out is of its default kind
        tree.setdefault(field[0], {"kind": kind})
    section = tree
    for part in field[:-1]:
        inner = section.setdefault(part, {})
        if not isinstance(inner, dict):
            raise InputError(f"command line: --{'.'.join(field)}: {part} is no section but {inner!r}")
        section = inner
    if field[-1] == "kind" and section.get("kind") != value:
        # Another kind has other fields: keep those that both have, so that `--policy.kind=truncated` is enough.
        kept = _fields(_section((*field[:-1], str(value))))
        for name in set(section) - kept:
            del section[name]
    section[field[-1]] = value


def _mistake(detail: Mapping[str, Any], source: str, lines: Mapping[tuple[str, ...], int | None]) -> str:
    place = tuple(str(part) for part in detail["loc"])
    section = _section(place[:-1])
    field = _without_kinds(place)
    blamed = (*field, "kind") if detail["type"] == "union_tag_invalid" else field
    line = next((lines[blamed[:end]] for end in range(len(blamed), 0, -1) if blamed[:end] in lines), 0)
    where = "command line" if line is None else f"{source}:{line}" if line else source
    name = ".".join(field) or "the recipe"
    if detail["type"] == "extra_forbidden":
        guess = _did_you_mean(field[-1], _fields(section), ".".join(field[:-1]))
        return f"{where}: {name} is not a field{guess or '; expected one of ' + ', '.join(sorted(_fields(section)))}"
    if detail["type"] == "missing":
        return f"{where}: {name} is missing"
    if detail["type"] == "union_tag_not_found":
        return f"{where}: {name}.kind is missing; expected one of {_kinds(field)}"
    if detail["type"] == "union_tag_invalid":
        found = detail["input"].get("kind") if isinstance(detail["input"], dict) else detail["input"]
        return f"{where}: {name}.kind must be one of {_kinds(field)}, got {found!r}"
    if detail["type"] == "value_error":
        return f"{where}: {name}: {detail['ctx']['error']}"
    if detail["type"] in ("model_type", "model_attributes_type"):
        return f"{where}: {name} must be a section, like {name}: {{field: value}}, got {detail['input']!r}"
    rule = detail["msg"].replace("Input should be", "must be").replace("Input should", "must")
    guess = _did_you_mean(str(detail["input"]), _choices(detail))
    return f"{where}: {name} {rule}, got {detail['input']!r}{guess}"


def _section(place: tuple[str, ...]) -> type[BaseModel]:
    """The section that a place, kinds of unions included, lies in."""
    section: type[BaseModel] = Recipe
    options: list[type[BaseModel]] = []
    for part in place:
        chosen = [option for option in options if option.model_fields["kind"].default == part]
        if chosen:
            section, options = chosen[0], []
        elif part in section.model_fields:
            options = _sections_in(section.model_fields[part].annotation)
            if len(options) == 1:
                section, options = options[0], []
    return section


def _sections_in(annotation: Any) -> list[type[BaseModel]]:
    candidates = [annotation, *get_args(annotation)]
    return [option for option in candidates if isclass(option) and issubclass(option, BaseModel)]


def _without_kinds(place: tuple[str, ...]) -> tuple[str, ...]:
    """The place as the user writes it: pydantic puts a union's kind into it."""
    return tuple(part for index, part in enumerate(place) if not (index == 1 and len(_options(place[0])) > 1))


def _options(field: str) -> list[type[BaseModel]]:
    known = Recipe.model_fields.get(field)
    return _sections_in(known.annotation) if known else []


def _kinds(field: tuple[str, ...]) -> str:
    return ", ".join(str(option.model_fields["kind"].default) for option in _options(field[0]))


def _fields(section: type[BaseModel]) -> set[str]:
    return set(section.model_fields)


def _choices(detail: Mapping[str, Any]) -> list[str]:
    return detail.get("ctx", {}).get("expected", "").replace("'", "").replace(" or ", ", ").split(", ")


def _did_you_mean(word: str, choices: Any, prefix: str = "") -> str:
    close = get_close_matches(word, list(choices), n=1)
    return f"; did you mean {prefix + '.' if prefix else ''}{close[0]}?" if close else ""


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return node


def _resolve_paths(tree: dict[str, Any], folder: Path) -> None:
    """Make the paths of the user's texts absolute, so that a run can be resumed from any folder."""
    data = tree.get("data")
    for key in ("train", "valid", "test"):
        if isinstance(data, dict) and isinstance(data.get(key), str):
            data[key] = str((folder / expanduser(data[key])).resolve())


def _lines(tree: CommentedMap, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int | None]]:
    """The line, from 1, of every key; that of the section for one which a merge (`<<`) brings in."""
    for key, value in tree.items():
        place = (*path, str(key))
        if key in (tree.lc.data or {}):
            yield place, tree.lc.key(key)[0] + 1
        if isinstance(value, CommentedMap):
            yield from _lines(value, place)
