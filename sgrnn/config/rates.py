"""Learning-rate schedules: pure functions of the time and of past validation losses."""

from collections.abc import Sequence
from math import isclose

from sgrnn.config.optimization import (
    CosineConfig,
    OneCycleConfig,
    PlateauConfig,
    ScheduleConfig,
    StepDecayConfig,
    WarmRestartsConfig,
)
from sgrnn.config.recipe import Recipe
from sgrnn.estimators.schedules import WarmRestarts, half_cosine


def rate_factor(schedule: ScheduleConfig, epoch: float, epochs: int, losses: Sequence[float]) -> float:
    """Return the factor that a schedule puts on the learning rate.

    Args:
        schedule: the recipe's.
        epoch: epochs trained so far, with their fraction.
        epochs: epochs planned.
        losses: validation loss after each epoch so far.

    >>> [rate_factor(StepDecayConfig(factor=0.5, after=4), epoch, 13, []) for epoch in (3.9, 4.0, 5.5)]
    [1.0, 0.5, 0.25]
    """
    match schedule:
        case StepDecayConfig(factor=factor, after=after, every=every):
            return 1.0 if epoch < after else factor ** (1 + (int(epoch) - after) // every)
        case PlateauConfig(factor=factor, patience=patience):
            return factor ** _plateaus_in(losses, patience)
        case CosineConfig(floor=floor, warmup=warmup):
            if epoch < warmup:
                return epoch / warmup
            progress = min((epoch - warmup) / max(epochs - warmup, 1e-9), 1.0)
            return floor + (1 - floor) * half_cosine(progress)
        case OneCycleConfig(rise=rise, start=start, floor=floor):
            top = rise * epochs
            if epoch < top:
                return 1 - (1 - start) * half_cosine(epoch / top)
            return floor + (1 - floor) * half_cosine(min((epoch - top) / (epochs - top), 1.0))
        case WarmRestartsConfig(floor=floor):
            return warm_restarts(schedule).annealed(epoch, floor)
        case _:
            return 1.0


def length_factor(recipe: Recipe, steps: int) -> float:
    """Return the factor that a span's length puts on the learning rate: its share of `training.span`, where spans vary.

    Args:
        recipe: of the run.
        steps: of the span.
    """
    if recipe.training.varying_span is None:
        return 1.0
    assert recipe.span is not None, "of a text"
    return steps / recipe.span


def rate_jump(
    before: Recipe, now: Recipe, update: int, updates_per_epoch: int, losses: Sequence[float]
) -> tuple[float, float] | None:
    """Return the jump of the learning rate where a run is resumed with another length than it was trained with.

    Args:
        before: the recipe that the run was trained by.
        now: the one that it goes on with.
        update: updates so far.
        updates_per_epoch: of the problem.
        losses: validation loss after each epoch so far.

    Returns:
        The rate at the last update and that at the next one; None if the length makes no difference.
    """
    place = update / updates_per_epoch
    would, will, was = (
        recipe.optimizer.learning_rate * rate_factor(recipe.schedule, epoch, recipe.training.epochs, losses)
        for recipe, epoch in ((before, place), (now, place), (before, max(update - 1, 0) / updates_per_epoch))
    )
    return None if isclose(would, will) else (was, will)


def warm_restarts(schedule: WarmRestartsConfig) -> WarmRestarts:
    """Return the clock that a learning rate and the source of the gradient share."""
    return WarmRestarts(schedule.period, schedule.growth)


def _plateaus_in(losses: Sequence[float], patience: int) -> int:
    """Count how often so many epochs in a row have brought no improvement."""
    best, waited, plateaus = float("inf"), 0, 0
    for loss in losses:
        if loss < best:
            best, waited = loss, 0
            continue
        waited += 1
        if waited == patience:
            plateaus, waited = plateaus + 1, 0
    return plateaus
