"""What a person sees of a run while it trains."""

from math import exp
from time import monotonic
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter

from sgrnn.training.run import Run


class Display:
    """A line of figures above a progress bar; without a terminal, a line now and then.

    Args:
        run: the run that trains.
        console: where to print.
        seconds_between_lines: without a terminal.
    """

    def __init__(self, run: Run, console: Console, seconds_between_lines: float = 10.0) -> None:
        self._console = console
        self._settings = run.recipe.training
        self._between = seconds_between_lines
        self._printed = monotonic()
        self._figures = Text("starting", style="dim")
        self._bar = Progress(
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
        )
        self._task = self._bar.add_task("training", total=1.0)
        self._live = Live(Group(self._figures, self._bar), console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a record of the run."""
        if "valid_loss" in record:
            self._console.print(
                f"epoch {record['epoch']:.3g}: validation loss {record['valid_loss']:.4f}, "
                f"perplexity {record['valid_perplexity']:.2f}, "
                f"{record['valid_bits_per_character']:.3f} bits per character"
            )
            return
        line = self._line(record)
        self._bar.update(self._task, completed=self._share(record))
        self._figures = Text(line)
        self._live.update(Group(self._figures, self._bar))
        if not self._console.is_terminal and monotonic() - self._printed > self._between:
            self._printed = monotonic()
            self._console.print(line, highlight=False)

    def _share(self, record: dict[str, Any]) -> float:
        share = record["epoch"] / self._settings.epochs
        return max(share, record["update"] / self._settings.max_updates) if self._settings.max_updates else share

    def _line(self, record: dict[str, Any]) -> str:
        parts = [
            f"epoch {record['epoch']:.2f}/{self._settings.epochs}",
            f"loss {record['loss']:.3f}",
            f"perplexity {exp(min(record['loss'], 700.0)):.4g}",
        ]
        if "r2" in record:
            parts += [f"R² {record['r2']:.2f}", f"gate {record['gate']:.2f}"]
        if "updates_per_second" in record:
            tokens = record["updates_per_second"] * self._settings.batch_size * self._settings.span
            parts.append(f"{tokens:,.0f} tokens/s")
        return "  ".join(parts)


class TensorBoard:
    """The run's figures as TensorBoard events.

    Args:
        run: the run; a resumed one goes on after its last record.
    """

    def __init__(self, run: Run) -> None:
        last = max((record["update"] for record in run.records()), default=0)
        self._writer = SummaryWriter(run.folder / "tensorboard", purge_step=last + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def __call__(self, record: dict[str, Any]) -> None:
        """Write a record."""
        for name, value in record.items():
            if name not in ("update", "epoch"):
                self._writer.add_scalar(name, value, record["update"])
