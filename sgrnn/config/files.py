"""Recipes read from files: YAML 1.2, overrides, and every mistake reported at once with its place."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.resources import files
from io import StringIO
from os.path import expanduser
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError

from sgrnn.config.overrides import Lines, Overrides, apply_overrides
from sgrnn.config.paths import resolve_paths
from sgrnn.config.recipe import Recipe
from sgrnn.config.schema import find, kinds, meant
from sgrnn.errors import InputError

_ANY = 1 << 30  # columns


def shipped_recipes() -> dict[str, str]:
    """Return the recipes that come with the package, name to text."""
    package = Path(str(files("sgrnn")))
    installed, checkout = package / "recipes", package.parent / "recipes"
    folder = installed if installed.is_dir() else checkout
    return {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.yaml"))}


def find_recipe(name: str) -> tuple[str, Path | None]:
    """Return the text of a recipe by its shipped name or its path, and the path if it was one.

    Raises:
        InputError: no such recipe, or a file that cannot be read.
    """
    shipped = shipped_recipes()
    if name in shipped:  # first, so that it is found whatever lies in the current folder
        return shipped[name], None
    path = Path(expanduser(name))
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


def load_recipe(name: str | Path | Mapping[str, Any] | Recipe, overrides: Overrides = ()) -> Recipe:
    """Read and check a recipe for a new run.

    Args:
        name: of a shipped recipe, or the path of a file; or a recipe itself, as sections of fields or checked before.
        overrides: ``--section.field=value`` (or the value as the next item). The value is in YAML, but for a field
            that takes a text: that gets what is written, and nothing (null) where it may. Or a mapping of values,
            nested as sections are or with dotted names.

    Raises:
        InputError: all mistakes at once, each with file, line and dotted path.
    """
    if isinstance(name, Recipe):
        name = name.model_dump(mode="json")
    if isinstance(name, Mapping):
        return _checked(_plain(name), {}, "the recipe", Path(), overrides, new=True)
    text, path = find_recipe(str(name))
    return parse_recipe(text, str(path or name), path.parent if path else None, overrides, new=True)


def parse_recipe(
    text: str, source: str, folder: Path | None = None, overrides: Overrides = (), *, new: bool = False
) -> Recipe:
    """Check a recipe that is given as a text.

    Args:
        text: the YAML.
        source: what messages call it.
        folder: what paths in it are relative to; None for the current folder.
        overrides: as in `load_recipe`.
        new: whether a run is to begin by it, which what was accepted of runs of before may not.

    Raises:
        InputError: all mistakes at once, each with file, line and dotted path.
    """
    tree = read_mapping(text, source, "a recipe is a mapping of sections such as data, model, gradient")
    return _checked(_plain(tree), dict(_lines(tree)), source, folder or Path(), overrides, new)


def _checked(plain: dict[str, Any], lines: Lines, source: str, folder: Path, overrides: Overrides, new: bool) -> Recipe:
    """Return the recipe of nested mappings, paths made absolute and overrides applied."""
    resolve_paths(plain, folder)
    apply_overrides(plain, lines, overrides)
    resolve_paths(plain, Path())
    try:
        return Recipe.model_validate(plain, context={"new": new})
    except ValidationError as error:
        mistakes = [line for detail in error.errors(include_url=False) for line in _mistakes(detail, source, lines)]
        raise InputError("\n".join(mistakes)) from None


def read_mapping(text: str, source: str, expected: str) -> CommentedMap:
    """Read a mapping in YAML, with the line of every key.

    Args:
        text: the YAML.
        source: what messages call it.
        expected: what they say that it should be.

    Raises:
        InputError: it is something else.
    """
    try:
        tree = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{source}{line}: not valid YAML: {error.problem}") from None
    except Exception as error:  # ruamel lets out what its constructors meet: a ValueError of the 32nd of May, and more
        raise InputError(f"{source}: not valid YAML: {error}") from None
    if not isinstance(tree, CommentedMap):
        given = "nothing" if tree is None else type(tree).__name__
        raise InputError(f"{source}: {expected}; got {given}")
    return tree


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe, defaults included, as YAML that reads back equal."""
    stream = StringIO()
    yaml = YAML(typ="rt", pure=True)  # keeps the order of the sections
    # Written as it is, U+0085 would be read as a line break: a blank. Only all of Unicode together can be escaped.
    yaml.allow_unicode = not any("\x85" in value for _, value in recipe.fields_by_name())
    yaml.width = _ANY  # a line is broken so that blanks beside others are lost, and one behind a tab is added
    yaml.dump(recipe.model_dump(mode="json"), stream)
    return stream.getvalue()


def _mistakes(detail: Mapping[str, Any], source: str, lines: Lines) -> Iterator[str]:
    """Yield a message for each mistake in one of pydantic's.

    A rule of a section reports one or several, one a line, each beginning with the field to blame if there is one.
    """
    if detail["type"] != "value_error":
        yield _mistake(detail, source, lines)
        return
    section, _, field = find(_place(detail))
    for message in str(detail["ctx"]["error"]).splitlines():
        blamed = tuple(message.split()[0].split("."))
        if blamed[0] in section.model_fields:
            yield f"{_where((*field, *blamed), source, lines)}: {'.'.join((*field, message))}"
        else:
            yield f"{_where(field, source, lines)}: {'.'.join(field)}: {message}"


def _mistake(detail: Mapping[str, Any], source: str, lines: Lines) -> str:
    place = _place(detail)
    section, _, _ = find(place[:-1])
    _, options, field = find(place)
    blamed = (*field, "kind") if detail["type"] == "union_tag_invalid" else field
    where = _where(blamed, source, lines)
    name = ".".join(field)
    if detail["type"] == "extra_forbidden":
        guess = _did_you_mean(field[-1], _fields(section), ".".join(field[:-1]))
        fields = meant(field[-1])
        of_another = f" of kind {kinds([section])}" if name in fields else ""
        elsewhere = [other for other in fields if other.endswith(f".{field[-1]}") and other != name]
        hint = f"; did you mean {' or '.join(elsewhere)}?" if elsewhere else ""
        expected = f"; expected one of {', '.join(sorted(_fields(section)))}{hint}"
        return f"{where}: {name} is not a field{of_another}{guess or expected}"
    if detail["type"] == "missing":
        return f"{where}: {name} is missing"
    if detail["type"] == "union_tag_not_found":
        return f"{where}: {name}.kind is missing; expected one of {kinds(options)}"
    if detail["type"] == "union_tag_invalid":
        given = detail["input"].get("kind") if isinstance(detail["input"], dict) else detail["input"]
        return f"{where}: {name}.kind must be one of {kinds(options)}, got {given!r}"
    if detail["type"] in ("model_type", "model_attributes_type"):
        return f"{where}: {name} must be a section, like {name}: {{field: value}}, got {detail['input']!r}"
    guess = _did_you_mean(str(detail["input"]), _choices(detail))
    return f"{where}: {name} {broken_rule(detail)}{guess}"


def broken_rule(detail: Mapping[str, Any]) -> str:
    """Return what a value must be, and what it is, from one of pydantic's mistakes."""
    rule = detail["msg"].replace("Input should be", "must be").replace("Input should", "must")
    if detail["type"] == "path_type":
        rule = "must be a path"
    rule = rule.removesuffix(", got a number with a fractional part")  # which the number itself says
    return f"{rule}, got {detail['input']!r}"


def _place(detail: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(part) for part in detail["loc"])


def _where(field: tuple[str, ...], source: str, lines: Lines) -> str:
    line = next((lines[field[:end]] for end in range(len(field), 0, -1) if field[:end] in lines), 0)
    return line if isinstance(line, str) else f"{source}:{line}" if line else source


def _fields(section: type[BaseModel]) -> set[str]:
    return set(section.model_fields)


def _choices(detail: Mapping[str, Any]) -> list[str]:
    return detail.get("ctx", {}).get("expected", "").replace("'", "").replace(" or ", ", ").split(", ")


def _did_you_mean(word: str, choices: Any, prefix: str = "") -> str:
    close = get_close_matches(word, list(choices), n=1)
    return f"; did you mean {prefix + '.' if prefix else ''}{close[0]}?" if close else ""


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return node


def _lines(tree: CommentedMap, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int | str]]:
    """Yield every key with its line, from 1, except those that a merge (`<<`) brings in."""
    for key, value in tree.items():
        place = (*path, str(key))
        if key in (tree.lc.data or {}):
            yield place, tree.lc.key(key)[0] + 1
        if isinstance(value, CommentedMap):
            yield from _lines(value, place)
