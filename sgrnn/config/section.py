"""Base class and field types of the sections of a recipe."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A section of a recipe: unknown fields are refused, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, strict=False, use_attribute_docstrings=True
    )

    def options(self, *others: str) -> dict[str, Any]:
        """Return the fields as keyword arguments of the library's class: all but `kind` and the others named."""
        return self.model_dump(exclude={"kind", *others})
