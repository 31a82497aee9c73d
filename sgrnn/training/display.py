"""The view of a run while it trains: lines and a bar in a terminal or a notebook."""

from collections.abc import Mapping
from math import exp
from time import monotonic
from typing import Any, Self, final

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sgrnn.training.run import Run


@final
class Display:
    """A line of metrics above a progress bar, in a terminal or in a notebook; elsewhere, a line now and then.

    Args:
        run: the run that trains.
        console: where to print.
        seconds_between_lines: where there is neither.
    """

    def __init__(self, run: Run, console: Console, seconds_between_lines: float = 10.0) -> None:
        self._console = console
        self._settings = run.recipe.training
        self._span = None if self._settings.varying_span else run.recipe.span
        self._reads_text = run.recipe.data is not None
        self._between = seconds_between_lines
        self._printed = float("-inf")
        self._loss: float | None = None  # the last one known, of a task per target: a line may lack it
        self._metrics = Text("starting", style="dim")
        self._bar = Progress(
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
        )
        self._task = self._bar.add_task("training", total=1.0)
        self._live = Live(Group(self._metrics, self._bar), console=console, refresh_per_second=4)
        self._cell: Any = None  # of a notebook, what is drawn anew; rich's own way would need ipywidgets

    def __enter__(self) -> Self:
        if self._console.is_jupyter:
            from IPython.display import display  # pyright: ignore[reportMissingImports]  (a notebook has it)

            self._cell = display(self._drawn(), display_id=True)
        elif self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a record of the run's log."""
        if "valid_loss" in record:
            self._console.print(
                f"epoch {record['epoch']:.3g}: validation {score_text(record, 'valid_')}", highlight=False
            )
            return
        if "loss" not in record:  # a diagnosis
            return
        line = self._line(record)
        self._bar.update(self._task, completed=self._share(record))
        self._metrics = Text(line)
        self._live.update(Group(self._metrics, self._bar))
        if self._cell is not None:
            self._cell.update(self._drawn())
        elif not self._console.is_terminal and monotonic() - self._printed > self._between:
            self._printed = monotonic()
            self._console.print(line, highlight=False)

    def _drawn(self) -> Table:
        """Return the present state as what a notebook can show, which a group is not."""
        grid = Table.grid()
        for part in (self._metrics, self._bar.get_renderable()):
            grid.add_row(part)
        return grid

    def _share(self, record: dict[str, Any]) -> float:
        share = record["epoch"] / self._settings.epochs
        return max(share, record["update"] / self._settings.max_updates) if self._settings.max_updates else share

    def _line(self, record: dict[str, Any]) -> str:
        parts = [f"epoch {record['epoch']:.2f}/{self._settings.epochs}"]
        self._loss = record.get("loss" if self._reads_text else "loss_per_target", self._loss)
        if self._loss is not None:
            parts.append(f"loss {self._loss:.3f}")
        if self._reads_text:
            parts.append(f"perplexity {exp(min(record['loss'], 700.0)):.4g}")
        if "length" in record:
            parts.append(f"length {record['length']:.3g}")
        if "target_r2" in record:
            parts += [f"target R² {record['target_r2']:.2f}", f"shrinkage {record['shrinkage']:.2f}"]
        updates = record["updates_per_second"]
        if self._reads_text and self._span is not None:
            parts.append(f"{updates * self._settings.batch_size * self._span:,.0f} tokens/s")
        else:
            parts.append(f"{updates:,.1f} updates/s")
        return "  ".join(parts)


def score_text(metrics: Mapping[str, float], prefix: str = "") -> str:
    """Return a score as a line of text.

    Args:
        metrics: as `Problem.score` gives them.
        prefix: of their names.

    >>> score_text({"loss": 0.25, "accuracy": 0.5, "length": 7})
    'loss 0.2500, accuracy 50.00%, length 7'
    """
    forms = {
        "loss": "loss {:.4f}",
        "perplexity": "perplexity {:.2f}",
        "bits_per_character": "{:.3f} bits per character",
        "bits_per_byte": "{:.3f} per byte",
        "unknown_share": "<unk> {:.2%}",
        "accuracy": "accuracy {:.2%}",
        "length": "length {:.0f}",
    }
    return ", ".join(form.format(metrics[prefix + name]) for name, form in forms.items() if prefix + name in metrics)
