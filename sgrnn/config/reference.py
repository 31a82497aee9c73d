"""Reference of the fields of a recipe: what each means, what it takes, and what it is where it is left out.

It is read off the sections: their types, and the docstrings beneath their fields.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple, get_origin

from pydantic import BaseModel

from sgrnn.config.recipe import Recipe
from sgrnn.config.schema import kinds, meant, sections_in, takes_nothing
from sgrnn.errors import InputError

_BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to", "exclusiveMaximum": "to below"}


class FieldReference(NamedTuple):
    """Description of a field.

    Args:
        name: dotted, as an override has it.
        takes: its type, choices and range.
        default: that it is required, or the value that it has where it is left out, in YAML.
        meaning: one sentence or several.
    """

    name: str
    takes: str
    default: str
    meaning: str


class SectionReference(NamedTuple):
    """Description of a section, of one kind where there are several.

    Args:
        title: its dotted name, and its kind.
        addresses: all names that lead to it, the kinds of sections said or left out: `gradient`, `gradient.synthetic`.
        meaning: a sentence.
        fields: its kind first, if it has one.
    """

    title: str
    addresses: Sequence[str]
    meaning: str
    fields: Sequence[FieldReference]

    def beneath(self, address: str) -> "SectionReference":
        """Return the section with those fields alone that an address leads to."""
        return self._replace(
            fields=[
                field
                for field in self.fields
                if any(_leads(address, _joined(own, _last(field.name))) for own in self.addresses)
            ]
        )


def reference(address: str = "") -> list[SectionReference]:
    """Describe the fields of a recipe.

    Args:
        address: of what is to be described: a section or a field by its dotted name, in which kinds may be said where a
            section has several: `gradient`, `gradient.synthetic`, `gradient.synthesizer.rank`. Empty for everything.

    Raises:
        InputError: nothing has this address.
    """
    sections = _all_sections()
    found = [part for part in (section.beneath(address) for section in sections) if part.fields]
    if not found:
        named = [field.name for section in sections for field in section.fields if _last(field.name) == address]
        close = dict.fromkeys(named or meant(address) or get_close_matches(address, _addresses(sections), n=1))
        guess = f"did you mean {' or '.join(close)}?" if close else "`sgrnn recipes fields` prints all there are"
        raise InputError(f"a recipe has no section or field {address!r}; {guess}")
    return found


@cache
def _all_sections() -> tuple[SectionReference, ...]:
    return tuple(_sections(Recipe, [""], "", ""))


def _sections(section: type[BaseModel], addresses: Sequence[str], name: str, kind: str) -> Iterator[SectionReference]:
    """Yield the description of a section, and of those within it."""
    properties = section.model_json_schema()["properties"]
    given = {"kind": "Kind of the section."} if kind else {}
    yield SectionReference(
        _joined(name, kind) if kind else name,
        addresses,
        _line(section.__doc__),
        [
            FieldReference(
                _joined(name, field),
                _takes_sections(known.annotation) or _takes(properties[field]),
                "required" if known.is_required() or field in given else f"default {_written(known.default)}",
                _line(known.description or given.get(field)),
            )
            for field, known in sorted(section.model_fields.items(), key=lambda item: item[0] not in given)
        ],
    )
    for field, known in section.model_fields.items():
        options = sections_in(known.annotation)
        for option in options:
            kind = kinds([option]) if len(options) > 1 else ""
            here = [_joined(address, field) for address in addresses]
            of_kind = [f"{address}.{kind}" for address in here] if kind else []
            yield from _sections(option, [*here, *of_kind], _joined(name, field), kind)


def _takes_sections(annotation: Any) -> str:
    """Return what a field takes that holds a section, or a list of them; "" for any other."""
    options = sections_in(annotation)
    if not options:
        return ""
    if get_origin(annotation) is tuple:
        return "list of sections"
    of_kind = f" of kind {_either(kinds(options).split(', '))}" if len(options) > 1 else ""
    return f"section{of_kind}{', or null' if takes_nothing(annotation) else ''}"


def _takes(schema: dict[str, Any]) -> str:
    """Return what a field takes in words, from its JSON schema."""
    if "anyOf" in schema:
        return ", or ".join(_takes(each) for each in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return _either(schema.get("enum", [schema.get("const")]))
    match schema["type"]:
        case "array" if "prefixItems" in schema:
            return f"list of {len(schema['prefixItems'])}, each {_takes(schema['prefixItems'][0])}"
        case "array":
            return f"list, each {_takes(schema['items'])}"
        case "string":
            return schema.get("format", "text")
        case "boolean":
            return "true or false"
        case "integer":
            least = schema.get("exclusiveMinimum", schema.get("minimum", 1) - 1) + 1
            greatest = f", below {schema['exclusiveMaximum']:,}" if "exclusiveMaximum" in schema else ""
            return f"whole number from {least}{greatest}"
        case "number":
            return " ".join(["number", *(f"{_BOUNDS[key]} {schema[key]:g}" for key in _BOUNDS if key in schema)])
        case kind:
            return kind


def _written(value: Any) -> str:
    """Return a default as YAML has it, of a section its kind."""
    if isinstance(value, BaseModel):
        kind = getattr(value, "kind", None)
        return f"kind: {kind}" if kind else "that of its fields"
    return value if isinstance(value, str) and value else json.dumps(value)


def _either(choices: Sequence[str]) -> str:
    return " or ".join([", ".join(choices[:-1]), choices[-1]] if len(choices) > 1 else choices)


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def _joined(name: str, field: str) -> str:
    return f"{name}.{field}" if name else field


def _leads(address: str, to: str) -> bool:
    """Return True where something lies at an address or beneath it."""
    return not address or f"{to}.".startswith(f"{address}.")


def _addresses(sections: Iterable[SectionReference]) -> list[str]:
    """List all addresses of sections and fields."""
    return [
        each
        for section in sections
        for own in section.addresses
        for each in (own, *(_joined(own, _last(field.name)) for field in section.fields))
    ]


def _last(name: str) -> str:
    return name.rpartition(".")[2]
