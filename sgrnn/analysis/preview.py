"""What a recipe's schedules will do, drawn before training."""

import sys
from itertools import pairwise
from statistics import fmean

from sgrnn import config as recipes
from sgrnn.config.build import build_schedule, time_unit
from sgrnn.config.rates import rate_factor
from sgrnn.estimators.schedules import Bernoulli

BARS = " ▁▂▃▄▅▆▇█"
PLAIN_BARS = " .:-=+*#@"
"""For a console that has no blocks."""

_LOOKS = 97  # at each column, where updates are not counted


def preview(recipe: recipes.Recipe, updates_per_epoch: int | None = None, columns: int = 60, bars: str = BARS) -> str:
    """Learning rate and share of synthetic gradients over the epochs, in lines of text.

    Args:
        recipe: the recipe.
        updates_per_epoch: needed where `needs_updates` says so; every update is then looked at.
        columns: width of the drawing.
        bars: characters from the lowest to the highest bar.
    """
    epochs: float = recipe.training.epochs
    source = build_schedule(recipe)
    if updates_per_epoch is None:
        drawn = [
            [(column + (look + 0.5) / _LOOKS) / columns * epochs for look in range(_LOOKS)] for column in range(columns)
        ]
    else:
        updates = min(recipe.training.epochs * updates_per_epoch, recipe.training.max_updates or sys.maxsize)
        epochs, columns = updates / updates_per_epoch, min(columns, updates)
        edges = [column * updates // columns for column in range(columns + 1)]
        drawn = [[update / updates_per_epoch for update in range(*pair)] for pair in pairwise(edges)]

    def share(epoch: float) -> float:
        if isinstance(source, Bernoulli):
            return source.probability
        if time_unit(recipe) == "epochs":
            return source(epoch)
        assert updates_per_epoch is not None, "needed, see needs_updates"
        return source(round(epoch * updates_per_epoch))

    def rate(epoch: float) -> float:
        return recipe.optimizer.learning_rate * rate_factor(recipe.schedule, epoch, recipe.training.epochs, [])

    rates = [fmean(map(rate, times)) for times in drawn]
    highest = max(rate(time) for times in drawn for time in times)
    lines = [
        f"learning rate    {_bars(rates, highest, bars)} 0 to {highest:.3g}",
        f"synthetic share  {_bars([fmean(map(share, times)) for times in drawn], 1.0, bars)} 0 to 1",
        f"epoch            0{epochs:>{max(columns - 1, 1)}g}",
    ]
    if isinstance(recipe.schedule, recipes.Plateau):
        lines.append("The learning rate falls whenever the validation loss stops improving: not drawn.")
    if isinstance(recipe.gradient, recipes.SyntheticGradients) and recipe.gradient.grounding is not None:
        every, window = recipe.gradient.grounding.every, recipe.gradient.grounding.window
        lines.append(f"Grounding: in one of {every} spans that are not real the window is {window} steps long.")
    return "\n".join(lines)


def needs_updates(recipe: recipes.Recipe) -> bool:
    """Whether the drawing depends on how many updates an epoch takes."""
    counted = time_unit(recipe) == "updates" and not isinstance(build_schedule(recipe), Bernoulli)
    return counted or recipe.training.max_updates is not None


def _bars(values: list[float], highest: float, bars: str) -> str:
    return "".join(bars[round(value / highest * (len(bars) - 1))] for value in values)
