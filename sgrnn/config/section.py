"""Base class and field types of the sections of a recipe."""

from collections.abc import Mapping
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A section of a recipe: unknown fields are refused, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, strict=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_true_for_one(cls, values: Any) -> Any:
        given = values.items() if isinstance(values, Mapping) else ()
        fields = cls.model_fields
        wrong = [
            f"{name} must be {what}, got {value}"
            for name, value in given if name in fields
            for what, found, kinds in (
                ("a number", [value], _kinds(fields[name].annotation)),
                ("a list of numbers", value, _kinds(fields[name].annotation, listed=True)),
            )
            if isinstance(found, list | tuple) and any(isinstance(each, bool) for each in found)
            and bool not in kinds and kinds & {int, float}
        ]  # fmt: skip
        if wrong:
            raise ValueError("\n".join(wrong))
        return values

    @model_validator(mode="after")
    def _fit_tensors(self) -> Self:
        given = {name: value if isinstance(value, list | tuple) else [value] for name, value in self}
        wrong = [
            f"{name} must be below {1 << 63:,}, got {each}"
            for name, members in given.items() for each in members if isinstance(each, int) and each >= 1 << 63
        ]  # fmt: skip
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def options(self, *others: str) -> dict[str, Any]:
        """Return the fields as keyword arguments of the library's class: all but `kind` and the others named."""
        return self.model_dump(exclude={"kind", *others})


def _kinds(annotation: Any, *, listed: bool = False) -> set[Any]:
    """Return the types that a field takes, or that members of its lists have."""
    if get_origin(annotation) in (list, tuple):
        return set[Any]().union(*map(_kinds, get_args(annotation))) if listed else set()
    parts = [part for part in get_args(annotation) if not isinstance(part, str)]  # of a union, or with its bounds
    if parts:
        return set[Any]().union(*(_kinds(part, listed=listed) for part in parts))
    return set() if listed else {annotation}
