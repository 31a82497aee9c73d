"""Learning curves of one run or of several over each other, and those of a run while it trains."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgrnn.analysis.palette import color_of, marker_of
from sgrnn.data.atomic import atomic_write
from sgrnn.training.run import Run

_LABEL = 28  # characters
_MARKS = 8  # on a curve of many points


class RunStyle(NamedTuple):
    """Label, color and marker by which a run is known in a figure."""

    label: str
    color: str
    marker: str


def run_styles(runs: Sequence[Run]) -> list[RunStyle]:
    """Style runs: a color for each kind of gradient (`sgrnn.analysis.palette`), a marker for each run of one kind."""
    seen: Counter[str] = Counter()
    styles = []
    for run in runs:
        gradient = run.recipe.gradient
        color = color_of(gradient.kind, control=getattr(gradient, "shuffle", False))
        styles.append(RunStyle(_label(run.name), color, marker_of(seen[color])))
        seen[color] += 1
    return styles


def _label(name: str) -> str:
    """Return the end of a run's name, as matplotlib will show it: what begins with `_` it hides, `$` is mathematics."""
    shown = f"./{name}" if name.startswith("_") else name
    end = shown if len(shown) <= _LABEL else f"…{shown[1 - _LABEL :]}"
    return end.replace("$", r"\$")


def plot_curves(runs: Sequence[Run], path: Path) -> None:
    """Write the learning curves of one run or more in the form that the name ends in, PNG where it has no end."""
    with atomic_write(path) as file:
        curves(runs).savefig(file, format=path.suffix.removeprefix(".").lower() or "png", dpi=120)


@final
class LiveCurves:
    """The learning curves of a run in RUN/curves.png, drawn anew at its evaluations.

    Args:
        run: the run.
        seconds_between: two drawings, at least; so many pass before the first, too.
    """

    def __init__(self, run: Run, seconds_between: float = 10.0) -> None:
        self._run, self._between = run, seconds_between
        self._drawn, self._is_outdated = monotonic(), True

    def __call__(self, record: dict[str, Any]) -> None:
        """Draw the curves where a record of the run's log is an evaluation, and the last drawing is old enough.

        Raises:
            InputError: they cannot be written, the disk being full for example.
        """
        self._is_outdated |= "loss" in record or "valid_loss" in record
        if "valid_loss" in record and monotonic() - self._drawn >= self._between:
            self.draw()

    def draw(self) -> None:
        """Draw the curves now, unless nothing was logged since the last drawing.

        Raises:
            InputError: as above.
        """
        if self._is_outdated:
            with self._run.writing("curves.png") as path:
                plot_curves([self._run], path)
            self._drawn, self._is_outdated = monotonic(), False


def curves(runs: Sequence[Run]) -> Figure:
    """Draw loss, validation loss and, where there are any, the synthesizer's quality and the length against epochs.

    The train loss of a task is that of the steps with a target, as the validation loss is.
    """
    logged = {name for run in runs for row in run.records() for name in row}
    further = [name for name in ("target_r2", "length") if name in logged]
    figure = Figure(figsize=(6 + 5 * len(further), 4), layout="constrained")
    losses, *others = figure.subplots(1, 1 + len(further), squeeze=False)[0]
    draw_losses(losses, runs)
    losses.set_title("Loss: train (faint) and validation")
    for name, axes in zip(further, others, strict=True):
        if name == "target_r2":
            draw_synthesizer(axes, runs)
            axes.set_title("Synthesizer")
        else:
            draw_metric(axes, runs, "length")
            axes.set(ylabel="length", title="Length of the episodes")
        axes.legend()
        axes.grid(alpha=0.3)
    return figure


def draw_losses(axes: Axes, runs: Sequence[Run]) -> None:
    """Draw train loss, faint, and validation loss against epochs."""
    for run, (label, color, marker) in zip(runs, run_styles(runs), strict=True):
        rows = list(run.records())
        name = "loss" if run.recipe.data is not None else "loss_per_target"  # not logged where no episode ended
        train = [(row["epoch"], row[name]) for row in rows if name in row]
        valid = [(row["epoch"], row["valid_loss"]) for row in rows if "valid_loss" in row]
        axes.plot(*_columns(train), color=color, marker=marker, markevery=_every(train), alpha=0.35)
        axes.plot(*_columns(valid), color=color, marker=marker, label=label)
    texts = all(run.recipe.data is not None for run in runs)
    axes.set(xlabel="epoch", ylabel="nats per token" if texts else "loss per target")
    axes.legend()
    axes.grid(alpha=0.3)


def draw_synthesizer(axes: Axes, runs: Sequence[Run]) -> None:
    """Draw the R² of predictions with their targets, and the shrinkage dashed."""
    draw_metric(axes, runs, "target_r2", ", target R²")
    draw_metric(axes, runs, "shrinkage", ", shrinkage", "--")
    axes.set(ylabel="target R², shrinkage")
    include(axes, 0, 1)


def draw_metric(axes: Axes, runs: Sequence[Run], name: str, suffix: str = "", line: str = "-") -> None:
    """Draw a logged metric against epochs, for the runs that have it."""
    for run, (label, color, marker) in zip(runs, run_styles(runs), strict=True):
        rows = [(row["epoch"], row[name]) for row in run.records() if name in row]
        if rows:
            axes.plot(
                *_columns(rows), color=color, marker=marker, markevery=_every(rows), ls=line, label=f"{label}{suffix}"
            )
    axes.set_xlabel("epoch")


def include(axes: Axes, *levels: float) -> None:
    """Widen the vertical axis to include reference levels, such as 0 and 1."""
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, *(level - 0.05 for level in levels)), max(high, *(level + 0.05 for level in levels)))


def _columns(rows: Sequence[tuple[float, float]]) -> Any:
    return tuple(zip(*rows, strict=True)) if rows else ((), ())


def _every(rows: Sequence[Any]) -> int:
    return max(1, len(rows) // _MARKS)
