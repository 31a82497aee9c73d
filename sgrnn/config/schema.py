"""The fields that a recipe may have, looked up by their dotted names."""

from collections.abc import Iterator
from difflib import get_close_matches
from inspect import isclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from sgrnn.config.data import TokenizerConfig
from sgrnn.config.recipe import Recipe
from sgrnn.data.kinds import OPTIONS


def find(place: tuple[str, ...]) -> tuple[type[BaseModel], list[type[BaseModel]], tuple[str, ...]]:
    """Find the section that a place of pydantic's lies in, the sections it may be, and the place as the user writes it.

    Pydantic puts the kind of a section into the place, which the user does not.
    """
    section: type[BaseModel] = Recipe
    options: list[type[BaseModel]] = []
    field: list[str] = []
    for part in place:
        chosen = of_kind(options, part)
        if chosen:
            section, options = chosen, []
            continue
        field.append(part)
        known = section.model_fields.get(part)
        options = sections_in(known.annotation) if known else []
        if len(options) == 1:
            section, options = options[0], []
    return section, options, tuple(field)


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """List the sections that a field may hold, one for each kind, or that a list in it may."""
    candidates = [option for member in _members(annotation) for option in (member, *get_args(member))]
    return [option for option in candidates if isclass(option) and issubclass(option, BaseModel)]


def of_kind(options: list[type[BaseModel]], kind: Any) -> type[BaseModel] | None:
    """Choose the section of a kind."""
    return next((option for option in options if "kind" in option.model_fields and _kind(option) == kind), None)


def fields_of_kind(options: list[type[BaseModel]], kind: Any) -> set[str]:
    """Name the fields that a section has once it is of a kind; the kind alone where there is no such kind."""
    if options == [TokenizerConfig]:  # one section for all kinds
        return {"kind", *OPTIONS.get(str(kind), ())}
    chosen = of_kind(options, kind)
    return set(chosen.model_fields) if chosen else {"kind"}


def kinds(options: list[type[BaseModel]]) -> str:
    """Name the kinds of a section for a message."""
    return ", ".join(_kind(option) for option in options)


def takes_text(annotation: Any) -> bool:
    """Return True where a field takes only texts: words, paths, or one of several names.

    >>> takes_text(Path | None), takes_text(Literal["cpu", "cuda"]), takes_text(int | None)
    (True, True, False)
    """
    members = [member for member in _members(annotation) if member is not NoneType]
    return bool(members) and all(
        member in (str, Path)
        or (get_origin(member) is Literal and all(isinstance(choice, str) for choice in get_args(member)))
        for member in members
    )


def takes_nothing(annotation: Any) -> bool:
    """Return True where a field may be null."""
    return NoneType in _members(annotation)


def meant(name: str) -> list[str]:
    """List the fields that a word may be meant for, by their dotted names, the least deep ones alone.

    >>> meant("seed"), meant("batch-size"), meant("temprature")
    (['training.seed'], ['training.batch_size'], ['sample.temperature'])
    """
    word = name.replace("-", "_").lower()
    fields = list(dict.fromkeys(_fields(Recipe)))
    if word in Recipe.model_fields:
        return [field for field in fields if field == f"{word}.kind"]
    lasts = {field: field.rpartition(".")[2] for field in fields}
    close = get_close_matches(word, set(lasts.values()), n=1)
    for fits in (
        lambda last: last == word,
        lambda last: "_" in last and "".join(part[0] for part in last.split("_")) == word,
        lambda last: last in close,
    ):
        if fitting := [field for field in fields if fits(lasts[field])]:
            depth = min(field.count(".") for field in fitting)
            return [field for field in fitting if field.count(".") == depth]
    return []


def _fields(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield all fields that hold a value, of all kinds."""
    for name, field in section.model_fields.items():
        listed = get_origin(field.annotation) is tuple  # whose entries have no dotted names
        inner = [] if listed else sections_in(field.annotation)
        if not inner:
            yield prefix + name
        for option in inner:
            yield from _fields(option, f"{prefix}{name}.")


def _members(annotation: Any) -> list[Any]:
    """List the members of a union without their constraints."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    return [annotation]


def _kind(option: type[BaseModel]) -> str:
    return str(option.model_fields["kind"].default)
