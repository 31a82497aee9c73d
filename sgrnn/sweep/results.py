"""Results of a sweep's trials, and Optuna's pictures of them."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from matplotlib import pyplot, style
from matplotlib.figure import Figure
from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.visualization.matplotlib import plot_optimization_history, plot_slice

from sgrnn.data.atomic import atomic_write
from sgrnn.training.problems.problem import selection_score


@dataclass(frozen=True)
class Result:
    """The outcome of a trial, so far.

    Args:
        number: from 0.
        state: complete, pruned, diverged, refused, failed, damaged or running.
        values: of the fields, by name.
        score: the value it is judged by, the less the better; None where there is none yet.
        record: the line of its record that this is of.
        folder: of its run.
        reason: why its values were refused, how it failed, or what of it is damaged.
    """

    number: int
    state: str
    values: dict[str, Any]
    score: float | None
    record: dict[str, Any]
    folder: Path
    reason: str | None = None


def score_of(record: dict[str, Any]) -> float:
    """Return the score that trials are judged by; less is better.

    It is bits per character of a text, whatever its tokens, else the metric that a run is selected by. Bits per
    character count what every `<unk>` stands for, so that a small vocabulary is no advantage.
    """
    return record.get("valid_bits_per_character", selection_score(record, "valid_"))


def unit_of(results: Sequence[Result]) -> str:
    """Return what the scores of trials are, as `score_of` gives them, for the axes of figures."""
    names = {name for result in results for name in result.record}
    if "valid_bits_per_character" in names:
        return "bits per character"
    return "loss / (1 + loss) - length" if "valid_length" in names else "validation loss"


@contextmanager
def figures_of(study: Study, unit: str) -> Iterator[dict[str, Figure]]:
    """Draw the scores of complete trials: `history` in order, with the best so far, and `fields` against each field.

    Args:
        study: with the trials.
        unit: of the scores.
    """
    with warnings.catch_warnings(), style.context("default"):  # Optuna sets a style for everybody
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "Attempting to set identical low and high xlims")  # a value tried alone
        warnings.filterwarnings("ignore", "No artists with labels found")  # no trial is complete
        history = plot_optimization_history(study, target_name=unit)
        plot_slice(study, target_name=unit)
        drawn = {"history": cast(Figure, history.figure), "fields": pyplot.gcf()}
        try:
            yield drawn
        finally:
            for figure in drawn.values():
                pyplot.close(figure)


def write_figures(study: Study, unit: str, folder: Path) -> list[Path]:
    """Write `figures_of` a study into a folder as PNG, and return the paths."""
    with figures_of(study, unit) as drawn:
        paths = {folder / f"{name}.png": figure for name, figure in drawn.items()}
        for path, figure in paths.items():
            with atomic_write(path) as file:
                figure.savefig(file, format="png", dpi=120, bbox_inches="tight")
    return list(paths)
