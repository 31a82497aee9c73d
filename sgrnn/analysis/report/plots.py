"""The plots of a report: each shows one thing, and is left out where no run has it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgrnn.analysis.curves import draw_losses, draw_metric, draw_synthesizer, include, run_styles
from sgrnn.analysis.report.diagnosis_plots import DIAGNOSIS_PLOTS, Diagnosed
from sgrnn.analysis.ticks import plain_log_ticks
from sgrnn.training.run import Run

_STYLE: Any = {  # as matplotlib's rc_context takes it
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "font.size": 10,
    "legend.fontsize": 8.5,
    "legend.framealpha": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "svg.hashsalt": "sgrnn",  # the same file for the same run
}

_WIDTH, _HEIGHT, _LINE = 5.4, 3.5, 0.19  # inches; the last of a line of a legend
_NARROW = 32  # characters of labels that stand two in a line


@dataclass(frozen=True)
class RunReport:
    """A run with the results that a report shows of it.

    Args:
        run: the run.
        diagnosis: as `sgrnn diagnose` kept it; None if it has not been run.
        sample: text from its best checkpoint; None for a task, or a run without a checkpoint.
    """

    run: Run
    diagnosis: dict[str, Any] | None
    sample: str | None


@dataclass(frozen=True)
class Plot:
    """A figure of a report.

    Args:
        name: of its files.
        title: what it shows; also above the axes.
        figure: drawn.
        note: how to read it.
    """

    name: str
    title: str
    figure: Figure
    note: str

    def image(self, form: str) -> bytes:
        """Return the figure as a file, "svg" or "png"; the same figure gives the same file."""
        file = BytesIO()
        with mpl.rc_context(_STYLE):
            self.figure.savefig(file, format=form, dpi=160, metadata={"Date": None} if form == "svg" else None)
        return file.getvalue()


def draw_all(reports: Sequence[RunReport]) -> Iterator[Plot]:
    """Draw every plot that the runs have something for."""
    runs = [report.run for report in reports]
    diagnosed = [
        Diagnosed(style, report.diagnosis)
        for style, report in zip(run_styles(runs), reports, strict=True)
        if report.diagnosis is not None
    ]
    for name, (title, note, draw) in _TRAINING_PLOTS.items():
        yield from _drawn(name, title, note, lambda axes, draw=draw: draw(axes, runs))
    for name, (title, note, draw) in DIAGNOSIS_PLOTS.items():
        yield from _drawn(name, title, note, lambda axes, draw=draw: draw(axes, diagnosed))


def _drawn(name: str, title: str, note: str, draw: Callable[[Axes], None]) -> Iterator[Plot]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title)
        draw(axes)
        if axes.lines:
            axes.grid(alpha=0.25)
            plain_log_ticks(axes)
            _put_legend_below(figure, axes)
            yield Plot(name, title, figure, note)


def _put_legend_below(figure: Figure, axes: Axes) -> None:
    """Add a legend below the axes, where it covers no curve, in a figure that grows by its lines."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 2 if len(labels) > 1 and max(len(line) for label in labels for line in label.split("\n")) < _NARROW else 1
    rows = sum(label.count("\n") + 1 for label in labels) / columns
    figure.set_size_inches(_WIDTH, _HEIGHT + _LINE * rows)
    axes.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns, frameon=False)


def _losses(axes: Axes, runs: Sequence[Run]) -> None:
    if any(True for run in runs for _ in run.records()):
        draw_losses(axes, runs)


def _logged(name: str, unit: str, *levels: float, **settings: Any) -> Callable[[Axes, Sequence[Run]], None]:
    def draw(axes: Axes, runs: Sequence[Run]) -> None:
        draw_metric(axes, runs, name)
        axes.set(ylabel=unit, **settings)
        if levels:
            include(axes, *levels)

    return draw


def _while_training(axes: Axes, runs: Sequence[Run]) -> None:
    draw_metric(axes, runs, "true_r2", ", R² at boundaries")
    draw_metric(axes, runs, "bias", ", error of the mean gradient", "--")
    axes.set(ylabel="R², relative error")
    include(axes, 0, 1)


_TRAINING_PLOTS: dict[str, tuple[str, str, Callable[[Axes, Sequence[Run]], None]]] = {
    "losses": ("Loss over training", "Train loss is faint, the validation split's is not.", _losses),
    "synthesizer": (
        "Predictions against their targets, and shrinkage",
        "R² of predictions with their targets, before they were trained on them (0: they say nothing), and the "
        "shrinkage that multiplies them (0: nothing is injected). The targets contain predictions themselves, so that "
        "1 proves nothing: R² against the true gradient is what `sgrnn diagnose` adds below.",
        draw_synthesizer,
    ),
    "cell-norm": (
        "Mean norm of the cell",
        "A norm that grows without bound is drift: the synthetic gradients feed on themselves.",
        _logged("cell_norm", "norm", yscale="log"),
    ),
    "injected-share": (
        "Synthetic share of what goes backwards",
        "The norm of what is injected over the norm of all that enters the core backwards.",
        _logged("injected_share", "share of the norm", 0, 1),
    ),
    "gradient-norm": (
        "Norm of the gradient",
        "Of all parameters, before it is clipped.",
        _logged("gradient_norm", "norm", yscale="log"),
    ),
    "length": (
        "Length of the episodes that were learned",
        "In the task's own unit; it grows as they are learned.",
        _logged("length", "length"),
    ),
    "while-training": (
        "Against the true gradient, while training",
        "R² of what was injected against the true gradient, and the relative error of the mean parameter gradient.",
        _while_training,
    ),
}
