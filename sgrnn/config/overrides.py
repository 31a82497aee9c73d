"""Recipe fields set on the command line, `--gradient.window=5`, or in a call from Python, `gradient={"window": 5}`.

On the command line a value is YAML as in a recipe file, so `null`, `[8, 4]` and `{kind: ramp, stop: 3}` are what they
are there. A field that takes a text is given the value as it stands: `--sample.prompt="The # sign"` has no comment,
`1984` is no number.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML

from sgrnn.config.recipe import Recipe
from sgrnn.config.schema import fields_of_kind, meant, of_kind, sections_in, takes_nothing, takes_text
from sgrnn.errors import InputError

Lines = dict[tuple[str, ...], int | str]
"""The line of every field of a recipe, or where else it was named: on the command line, or in a call from Python."""

Overrides = Sequence[str] | Mapping[str, Any]
"""Fields of a recipe with other values: as the command line has them, or as names with values from Python."""

_NOTHING = ("", "~", "null")


def apply_overrides(tree: dict[str, Any], lines: Lines, overrides: Overrides) -> None:
    """Write other values over those of a recipe.

    Args:
        tree: the recipe as nested mappings; changed.
        lines: of its fields; changed.
        overrides: ``--section.field=value``, or the value as the next item; or a mapping of values, nested as sections
            are or with dotted names.

    Raises:
        InputError: an argument that is no override, or a value that cannot be read.
    """
    called = isinstance(overrides, Mapping)
    source = "override" if called else "command line"
    pairs = list(_flat(overrides) if called else _split(overrides))
    for field, value in sorted(pairs, key=lambda pair: (pair[0][-1] != "kind", len(pair[0]))):
        lines[field] = source
        for end in range(1, len(field)):
            lines.setdefault(field[:end], source)
        _override(tree, lines, field, value, source)


def _flat(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (("gradient", "window"), 5) for {"gradient": {"window": 5}} and for {"gradient.window": 5}."""
    for name, value in values.items():
        field = (*above, *str(name).split("."))
        if isinstance(value, Mapping) and value:
            yield from _flat(value, field)
        else:
            yield field, value


def _split(overrides: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (("gradient", "window"), "5") for "--gradient.window=5" or in two words."""
    items = list(overrides)
    while items:
        item = items.pop(0)
        name, equals, value = item.partition("=")
        if not name.startswith("--") or ("." not in name and not _leaves_out(name[2:], value)):
            value = value if equals or not items or items[0].startswith("--") else items[0]
            raise InputError(
                f"command line: expected an override like --gradient.window=5, got {item!r}{_guess(name, value)}"
            )
        if not equals:
            if not items or items[0].startswith("--"):
                after = f", got {items[0]!r} after it; if that is the value: {name}={items[0]}" if items else ""
                raise InputError(f"command line: {name} needs a value, like {name}=5{after}")
            value = items.pop(0)
        yield tuple(name[2:].split(".")), value


def _leaves_out(name: str, value: str) -> bool:
    """Return True where a whole section is set to null, which may be."""
    known = Recipe.model_fields.get(name)
    return known is not None and takes_nothing(known.annotation) and value in ("~", "null")


def _guess(name: str, value: str) -> str:
    """Return the fields that a name without a section may be meant for, as they would be written."""
    fields = meant(name.lstrip("-").rpartition(".")[2])
    if value.startswith("{"):
        fields = [field for field in fields if not field.endswith(".kind")]  # which a whole section is not
    written = [f"--{field}={value}" if value else f"--{field}" for field in fields]
    return f"; did you mean {' or '.join(written)}?" if written else ""


def _override(tree: dict[str, Any], lines: Lines, field: tuple[str, ...], value: Any, source: str) -> None:
    schema: type[BaseModel] | None = Recipe
    section, options = tree, list[type[BaseModel]]()
    is_empty = isinstance(value, Mapping)  # from Python: the section is there, its fields as they are or by default
    for part in field if is_empty else field[:-1]:
        known = schema.model_fields.get(part) if schema else None
        kind = getattr(getattr(known, "default", None), "kind", None)
        if section.get(part) is None:  # a section that the recipe leaves out is of its default kind
            section[part] = {} if kind is None else {"kind": kind}
        inner = section[part]
        if not isinstance(inner, dict):
            dashes = "--" if source == "command line" else ""
            raise InputError(f"{source}: {dashes}{'.'.join(field)}: {part} is no section but {inner!r}")
        options = sections_in(known.annotation) if known else []
        schema = options[0] if len(options) == 1 else of_kind(options, inner.get("kind"))
        section = inner
    if is_empty:
        return
    if source == "command line":
        value = _read(schema, field, value)
    if field[-1] == "kind" and section.get("kind") != value:
        # Another kind has other fields: keep those that both have, so that `--gradient.kind=truncated` is enough.
        for name in set(section) - fields_of_kind(options, value):
            del section[name]
            for place in [place for place in lines if place[: len(field)] == (*field[:-1], name)]:
                del lines[place]
    section[field[-1]] = value


def _read(schema: type[BaseModel] | None, field: tuple[str, ...], text: str) -> Any:
    """Read a value as the field takes it: a text as it stands, anything else in YAML."""
    known = schema.model_fields.get(field[-1]) if schema else None
    name = f"command line: --{'.'.join(field)}"
    if known is not None and takes_text(known.annotation):
        if known.annotation is str and any("\ud800" <= each <= "\udfff" for each in text):
            raise InputError(f"{name} must be UTF-8 text, got {text!r}")  # Python reads other bytes as half a pair
        return None if takes_nothing(known.annotation) and text in _NOTHING else text
    try:
        value = YAML(typ="safe", pure=True).load(text)
        ends = [token.end_mark.index for token in YAML(typ="safe", pure=True).scan(text) if _has_length(token)]
    except Exception:  # as in `sgrnn.config.files.read_mapping`
        raise InputError(f"{name}: not a YAML value: {text!r}") from None
    if rest := text[max(ends, default=0) :].strip():
        raise InputError(f"{name}: {rest!r} of {text!r} is a comment in YAML, and would be lost: remove it")
    return value


def _has_length(token: Any) -> bool:
    """Return True where a YAML token covers any text; the end of a block, for example, does not."""
    return token.end_mark.index > token.start_mark.index
