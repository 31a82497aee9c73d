"""A sweep at a glance: scores as they came, and against every field that was tried."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgrnn.data.atomic import atomic_write
from sgrnn.sweep.space import Choices, Numbers, Space
from sgrnn.sweep.sweep import Result

_COLUMNS = 3


def plot_sweep(results: Sequence[Result], space: Space, unit: str, path: Path) -> None:
    """Draw the scores of all trials that have one, as PNG: those that were run to their end filled.

    Args:
        results: the trials.
        space: the fields.
        unit: of the scores.
        path: the file to write.
    """
    scored = [result for result in results if result.score is not None]
    rows = -(-(1 + len(space)) // _COLUMNS)
    columns = min(_COLUMNS, 1 + len(space))
    figure = Figure(figsize=(5 * columns, 4 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    _scatter(axes[0], [result.number for result in scored], scored)
    best = [min(other.score or 0.0 for other in scored[: place + 1]) for place in range(len(scored))]
    axes[0].step([result.number for result in scored], best, where="post", color="C1", label="best so far")
    axes[0].set(xlabel="trial", ylabel=unit, title="as they came")
    axes[0].legend()
    for axis, (field, tried) in zip(axes[1:], space.items(), strict=False):
        match tried:
            case Choices(values=values):
                _scatter(axis, [values.index(result.values[field]) for result in scored], scored)
                axis.set_xticks(range(len(values)), values)
            case Numbers(log=log):
                _scatter(axis, [result.values[field] for result in scored], scored)
                axis.set_xscale("log" if log else "linear")
        axis.set(xlabel=field, ylabel=unit)
    for axis in axes[1 + len(space) :]:
        axis.set_visible(False)
    for axis in axes:
        axis.grid(alpha=0.3)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _scatter(axis: Axes, places: Sequence[float], results: Sequence[Result]) -> None:
    complete = [result.state == "complete" for result in results]
    for filled in (True, False):
        chosen = [
            (place, result.score)
            for place, result, done in zip(places, results, complete, strict=True)
            if done == filled and result.score is not None
        ]
        axis.scatter(
            *zip(*chosen, strict=True) if chosen else ([], []), color="C0", facecolors="C0" if filled else "none"
        )
