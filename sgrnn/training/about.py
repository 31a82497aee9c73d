"""Facts about a run that its recipe does not tell: what it learns, the size of its parts, its scores."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from torch import nn

from sgrnn.errors import InputError, quoted
from sgrnn.training.kept import keep, kept
from sgrnn.training.learner import Learner
from sgrnn.training.lock import waited_for
from sgrnn.training.problems.problem import Problem
from sgrnn.training.run import Run

ABOUT = "about.json"
_SCORES = "scores.json"


def about(problem: Problem, learner: Learner) -> dict[str, Any]:
    """Return what RUN/about.json is to hold: `learns`, and `parameters` of the model and the synthesizer."""
    return {
        "learns": problem.sizes,
        "parameters": {"model": _number(learner.model), "synthesizer": _number(learner.estimator)},
    }


def read_about(run: Run) -> dict[str, Any]:
    """Return what RUN/about.json holds; nothing of a run that was never trained.

    Raises:
        InputError: the file is damaged.
    """
    return kept(run, ABOUT, f"remove it, and write it again with `sgrnn resume {quoted(run.folder)}`", ["parameters"])


def keep_score(run: Run, split: str, update: int, metrics: Mapping[str, float]) -> None:
    """Write a score of a run's checkpoint to RUN/scores.json, beside those of other splits.

    Args:
        run: the run.
        split: train, valid or test, with the name of an adaptation behind it, or train-part.
        update: of the checkpoint.
        metrics: as `Problem.score` gives them.

    Raises:
        InputError: it cannot be written, or what is there is damaged.
    """
    evaluated = datetime.now(UTC).isoformat(timespec="seconds")
    with run.writing("scores.lock", training=False) as lock, waited_for(lock):  # or what another adds would be lost
        scores = read_scores(run) | {split: {"update": update, "evaluated": evaluated, **metrics}}
        keep(run, _SCORES, scores, training=False)


def read_scores(run: Run) -> dict[str, dict[str, Any]]:
    """Return the scores that `keep_score` wrote, by split: metrics, and `update` and `evaluated`.

    Raises:
        InputError: the file is damaged.
    """
    mend = f"remove it, and write it again with `sgrnn evaluate {quoted(run.folder)}`"
    scores = kept(run, _SCORES, mend, mappings=None)
    for split, score in scores.items():
        for name in ("update", "loss", *score):
            if name != "evaluated" and not isinstance(score.get(name), int | float):
                found = f"expected a number under {split!r}, {name!r}, got {score.get(name)!r:.60}"
                raise InputError(f"{run.folder / _SCORES} is damaged: {found}; {mend}")
    return scores


def _number(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
