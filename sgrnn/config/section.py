"""Base class and field types of the sections of a recipe."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

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
        wrong = [
            f"{name} must be a number, got {value}"
            for name, value in given
            if isinstance(value, bool)
            and name in cls.model_fields
            and _takes_numbers(cls.model_fields[name].annotation)
        ]
        if wrong:
            raise ValueError("\n".join(wrong))
        return values

    def options(self, *others: str) -> dict[str, Any]:
        """Return the fields as keyword arguments of the library's class: all but `kind` and the others named."""
        return self.model_dump(exclude={"kind", *others})


def _takes_numbers(annotation: Any) -> bool:
    """Return True where a field takes numbers, and neither true nor false."""
    kinds, todo = set(), [annotation]
    while todo:  # unions of types, and of such with bounds
        kind = todo.pop()
        parts = [part for part in get_args(kind) if not isinstance(part, str)]
        kinds |= set() if parts else {kind}
        todo += parts
    return bool(kinds & {int, float}) and bool not in kinds
