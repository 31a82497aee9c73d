"""What a recipe's schedules will do, drawn before training."""

from statistics import fmean

from sgrnn.training import recipe as recipes
from sgrnn.training.build import build_schedule, time_unit
from sgrnn.training.rates import rate_factor

_BARS = " ▁▂▃▄▅▆▇█"
_LOOKS = 25  # at each column


def preview(recipe: recipes.Recipe, updates_per_epoch: int | None = None, columns: int = 60) -> str:
    """Learning rate and share of synthetic gradients over the epochs, in lines of text.

    Args:
        recipe: the recipe.
        updates_per_epoch: needed where `needs_updates` says so.
        columns: width of the drawing.
    """
    epochs = recipe.training.epochs
    source = build_schedule(recipe)

    def share(epoch: float) -> float:
        if time_unit(recipe) == "epochs":
            return source(epoch)
        assert updates_per_epoch is not None, "needed, see needs_updates"
        return source(int(epoch * updates_per_epoch))

    def rate(epoch: float) -> float:
        return recipe.optimizer.learning_rate * rate_factor(recipe.schedule, epoch, epochs, [])

    drawn = [
        [(column + (look + 0.5) / _LOOKS) / columns * epochs for look in range(_LOOKS)] for column in range(columns)
    ]
    rates = [fmean(map(rate, times)) for times in drawn]
    highest = max(rate(time) for times in drawn for time in times)
    lines = [
        f"learning rate    {_bars(rates, highest)} 0 to {highest:.3g}",
        f"synthetic share  {_bars([fmean(map(share, times)) for times in drawn], 1.0)} 0 to 1",
        f"epoch            0{epochs:>{columns - 1}}",
    ]
    if isinstance(recipe.schedule, recipes.Plateau):
        lines.append("The learning rate falls whenever the validation loss stops improving: not drawn.")
    if isinstance(recipe.policy, recipes.Synthetic) and recipe.policy.grounding is not None:
        every, window = recipe.policy.grounding.every, recipe.policy.grounding.window
        lines.append(f"Grounding: every {every} spans one with a window of {window} steps.")
    return "\n".join(lines)


def needs_updates(recipe: recipes.Recipe) -> bool:
    """Whether the drawing depends on how many updates an epoch of the text takes."""
    return time_unit(recipe) == "updates"


def _bars(values: list[float], highest: float) -> str:
    return "".join(_BARS[round(value / highest * (len(_BARS) - 1))] for value in values)
