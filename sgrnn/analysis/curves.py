"""Learning curves of one run or of several over each other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgrnn.data.atomic import atomic_write
from sgrnn.training.run import Run

_LABEL = 28  # characters


def plot_curves(runs: Sequence[Run], path: Path) -> None:
    """Draw loss, validation loss and, where there are any, the synthesizer's quality and the length, as PNG.

    All against epochs. The train loss of a task is that of the steps with a target, as the validation loss is.

    Args:
        runs: one or more.
        path: the file to write.
    """
    logged = {name for run in runs for row in run.records() for name in row}
    further = [name for name in ("target_r2", "length") if name in logged]
    figure = Figure(figsize=(6 + 5 * len(further), 4), layout="constrained")
    losses, *others = figure.subplots(1, 1 + len(further), squeeze=False)[0]
    draw_losses(losses, runs)
    losses.set_title("loss: train (faint) and validation")
    for name, axes in zip(further, others, strict=True):
        if name == "target_r2":
            draw_logged(axes, runs, "target_r2", " R² with its targets")
            draw_logged(axes, runs, "shrinkage", " shrinkage", "--")
            axes.set(xlabel="epoch", title="synthesizer", ylim=(-0.1, 1.05))
        else:
            draw_logged(axes, runs, "length")
            axes.set(xlabel="epoch", title="length of the episodes")
        axes.legend()
        axes.grid(alpha=0.3)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def draw_losses(axes: Axes, runs: Sequence[Run]) -> None:
    """Train loss, faint, and validation loss against epochs, a color for each run."""
    for index, run in enumerate(runs):
        color, rows = f"C{index}", list(run.records())
        train = [row for row in rows if "loss" in row]
        valid = [row for row in rows if "valid_loss" in row]
        axes.plot([row["epoch"] for row in train], [_train_loss(row) for row in train], color=color, alpha=0.4)
        axes.plot([r["epoch"] for r in valid], [r["valid_loss"] for r in valid], "o-", color=color, label=label(run))
    texts = all(run.recipe.data is not None for run in runs)
    axes.set(xlabel="epoch", ylabel="nats per token" if texts else "loss per target")
    axes.legend()
    axes.grid(alpha=0.3)


def draw_logged(axes: Axes, runs: Sequence[Run], name: str, suffix: str = "", style: str = "-") -> None:
    """A figure that is logged against epochs, for the runs that have it."""
    for index, run in enumerate(runs):
        rows = [row for row in run.records() if name in row]
        if rows:
            axes.plot(
                [row["epoch"] for row in rows], [row[name] for row in rows], style, color=f"C{index}",
                label=f"{label(run)}{suffix}",
            )  # fmt: skip


def label(run: Run) -> str:
    """What a legend has room for of a run's name."""
    return run.name if len(run.name) <= _LABEL else f"…{run.name[1 - _LABEL :]}"


def _train_loss(row: dict[str, Any]) -> float:
    return row.get("loss_per_target", row["loss"])
