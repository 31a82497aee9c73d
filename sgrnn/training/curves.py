"""Learning curves of one run or of several over each other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sgrnn.data.atomic import atomic_write
from sgrnn.training.run import Run


def plot_curves(runs: Sequence[Run], path: Path) -> None:
    """Draw loss, validation loss and, where there are any, the synthesizer's quality and the length, as PNG.

    All against epochs. The train loss of a task is that of the steps with a target, as the validation loss is.

    Args:
        runs: one or more.
        path: the file to write.
    """
    records = [(run.name, list(run.records())) for run in runs]
    logged = {name for _, rows in records for row in rows for name in row}
    further = [name for name in ("r2", "length") if name in logged]
    figure = Figure(figsize=(6 + 5 * len(further), 4), layout="constrained")
    losses, *others = figure.subplots(1, 1 + len(further), squeeze=False)[0]
    panels = dict(zip(further, others, strict=True))
    for index, (name, rows) in enumerate(records):
        color = f"C{index}"
        train = [row for row in rows if "loss" in row]
        valid = [row for row in rows if "valid_loss" in row]
        losses.plot([row["epoch"] for row in train], [_train_loss(row) for row in train], color=color, alpha=0.4)
        losses.plot([r["epoch"] for r in valid], [r["valid_loss"] for r in valid], "o-", color=color, label=name)
        guided = [row for row in rows if "r2" in row]
        if guided:
            axis = panels["r2"]
            axis.plot([r["epoch"] for r in guided], [r["r2"] for r in guided], color=color, label=f"{name} R²")
            axis.plot([r["epoch"] for r in guided], [r["gate"] for r in guided], "--", color=color, label="gate")
        grown = [row for row in rows if "length" in row]
        if grown:
            panels["length"].plot([r["epoch"] for r in grown], [r["length"] for r in grown], color=color, label=name)
    texts = all(run.recipe.data is not None for run in runs)
    unit = "nats per token" if texts else "loss per target"
    losses.set(xlabel="epoch", ylabel=unit, title="loss: train (faint) and validation")
    if "r2" in panels:
        panels["r2"].set(xlabel="epoch", title="synthesizer", ylim=(-0.1, 1.05))
    if "length" in panels:
        panels["length"].set(xlabel="epoch", title="length of the episodes")
    for axis in (losses, *others):
        axis.legend()
        axis.grid(alpha=0.3)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _train_loss(row: dict[str, Any]) -> float:
    return row.get("loss_per_target", row["loss"])
