"""The space of a sweep: recipe fields by their dotted names, and what each may be.

    optimizer.learning_rate: {low: 1e-4, high: 1e-2, log: true}
    model.hidden_size: {low: 100, high: 400, step: 50}
    gradient.window: [1, 5, 20]

A list holds choices of any kind, a mapping a range of numbers. Each value must be one that the recipe would take.
"""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import PositiveFloat, ValidationError
from pydantic import model_validator as check

from sgrnn.config.files import broken_rule, read_mapping
from sgrnn.config.recipe import Recipe
from sgrnn.config.section import Section
from sgrnn.errors import InputError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Load = Callable[[Sequence[str]], Recipe]  # a recipe with overrides


Space = dict[str, "BaseDistribution"]  # by field; choices are JSON


class Range(Section):
    """Numbers from `low` to `high`, both among them; whole ones for a field that takes whole numbers."""

    low: float
    high: float
    step: PositiveFloat | None = None
    """Distance between neighbouring values; null for 1 where they are whole, else for any number."""
    log: bool = False
    """Draw on a logarithmic scale: equal ratios are equally likely instead of equal differences."""

    @check(mode="after")
    def _is_a_range(self) -> Self:
        if self.high <= self.low:
            raise ValueError(f"high must be above low, {self.low:g}, got {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 where log is true, got {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("step and log exclude each other: remove one")
        if self.step is not None and (Decimal(str(self.high)) - Decimal(str(self.low))) % Decimal(str(self.step)):
            raise ValueError(f"high must be a whole number of steps, {self.step:g}, above low, got {self.high:g}")
        return self


def read_space(path: Path, load: Load) -> Space:
    """Read a space file, and check it against the recipe that it is for.

    Args:
        path: the file.
        load: the recipe, with overrides such as ``--gradient.window=5``.

    Raises:
        InputError: a mistake; names file, line and field.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the space {path}: {error}") from None
    tree = read_mapping(text, str(path), "a space is a mapping of recipe fields such as optimizer.learning_rate")
    if not tree:
        raise InputError(f"{path}: a space needs a field, such as optimizer.learning_rate; got none")
    return {str(key): _field(str(key), value, f"{path}:{tree.lc.key(key)[0] + 1}", load) for key, value in tree.items()}


def override(field: str, value: Any) -> str:
    """Return the override that sets a field to a number or to a choice in JSON, texts without their quotes."""
    chosen = json.loads(value) if isinstance(value, str) else value
    return f"--{field}={chosen if isinstance(chosen, str) else json.dumps(chosen)}"


def _field(field: str, value: Any, where: str, load: Load) -> "BaseDistribution":
    if "." not in field:
        raise InputError(f"{where}: {field} is no recipe field with its section, such as gradient.window")
    if isinstance(value, list):
        if not value:
            raise InputError(f"{where}: {field} needs a choice, got an empty list")
        try:
            values = [json.dumps(choice) for choice in value]
        except TypeError:
            raise InputError(f"{where}: {field} takes numbers, texts, lists and mappings, got {value!r}") from None
        meant: dict[str, str] = {}  # the first of those that mean the same, such as 1 and 1.0
        for choice in values:
            meant.setdefault(repr(_at(_checked(field, choice, where, load), field)), choice)
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([*meant.values()])
    if not isinstance(value, dict):
        raise InputError(
            f"{where}: {field} must be a list of choices or a range such as {{low: 1, high: 9}}, got {value!r}"
        )
    try:
        given = Range.model_validate(dict(value))
    except ValidationError as error:
        mistakes = [_mistake(detail, field, where) for detail in error.errors(include_url=False)]
        raise InputError("\n".join(mistakes)) from None
    ends = [_at(_checked(field, json.dumps(end), where, load), field) for end in (given.low, given.high)]
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
        raise InputError(f"{where}: {field} takes no numbers, so it has no range: give a list of choices")
    from optuna.distributions import FloatDistribution, IntDistribution  # only where the file is good so far

    if not all(isinstance(end, int) for end in ends):
        return FloatDistribution(given.low, given.high, given.log, given.step)
    if given.step is not None and given.step != int(given.step):
        raise InputError(f"{where}: {field}.step must be a whole number as those of the field are, got {given.step:g}")
    return IntDistribution(int(given.low), int(given.high), given.log, int(given.step or 1))


def _checked(field: str, value: str, where: str, load: Load) -> Recipe:
    try:
        return load([override(field, value)])
    except InputError as error:
        raise InputError(str(error).replace("command line: ", f"{where}: ")) from None


def _at(recipe: Recipe, field: str) -> Any:
    return reduce(getattr, field.split("."), recipe)


def _mistake(detail: Any, field: str, where: str) -> str:
    name = ".".join([field, *map(str, detail["loc"])])
    if detail["type"] == "value_error":
        return f"{where}: {name}: {detail['ctx']['error']}"
    if detail["type"] == "missing":
        return f"{where}: {name} is missing"
    if detail["type"] == "extra_forbidden":
        return f"{where}: {name} is no field of a range; expected {', '.join(sorted(Range.model_fields))}"
    return f"{where}: {name} {broken_rule(detail)}"
