"""Learning curves of one run or of several over each other."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from sgrnn.data.atomic import atomic_write
from sgrnn.training.run import Run


def plot_curves(runs: Sequence[Run], path: Path) -> None:
    """Draw loss, validation loss and, where there is one, the synthesizer's quality against epochs, as PNG.

    Args:
        runs: one or more.
        path: the file to write.
    """
    records = [(run.name, list(run.records())) for run in runs]
    synthetic = any("r2" in record for _, rows in records for record in rows)
    figure = Figure(figsize=(11 if synthetic else 6, 4), layout="constrained")
    axes = figure.subplots(1, 2 if synthetic else 1, squeeze=False)[0]
    for index, (name, rows) in enumerate(records):
        color = f"C{index}"
        train = [row for row in rows if "loss" in row]
        valid = [row for row in rows if "valid_loss" in row]
        axes[0].plot([row["epoch"] for row in train], [row["loss"] for row in train], color=color, alpha=0.4)
        axes[0].plot([r["epoch"] for r in valid], [r["valid_loss"] for r in valid], "o-", color=color, label=name)
        guided = [row for row in rows if "r2" in row]
        if guided:
            axes[1].plot([r["epoch"] for r in guided], [r["r2"] for r in guided], color=color, label=f"{name} R²")
            axes[1].plot([r["epoch"] for r in guided], [r["gate"] for r in guided], "--", color=color, label="gate")
    axes[0].set(xlabel="epoch", ylabel="nats per token", title="loss: train (faint) and validation")
    axes[0].legend()
    if synthetic:
        axes[1].set(xlabel="epoch", title="synthesizer", ylim=(-0.1, 1.05))
        axes[1].legend()
    for axis in axes:
        axis.grid(alpha=0.3)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
