"""The best evaluation of a run: its record, and the model in its checkpoint."""

from dataclasses import dataclass
from typing import Any, final

from sgrnn.models.sequence_model import SequenceModel
from sgrnn.training.belonging import require_belonging
from sgrnn.training.checkpoints import Checkpoint, best_update, read_whole, require_best
from sgrnn.training.problems.problem import Problem, selection_score
from sgrnn.training.run import Run


def best_record(run: Run) -> dict[str, Any] | None:
    """Return the evaluation of a run's best checkpoint, as it was logged; None before there is one.

    Where no checkpoint is left, the best evaluation that was logged.

    Raises:
        InputError: the latest checkpoint is damaged.
    """
    evaluations = [record for record in run.records() if "valid_loss" in record]
    if (update := best_update(run.checkpoints)) is not None:
        evaluations = [record for record in evaluations if record["update"] == update]
    return min(evaluations, key=lambda record: selection_score(record, "valid_"), default=None)


@final
@dataclass(frozen=True)
class Trained:
    """The model of a run's best checkpoint, with the problem that it was trained on.

    Args:
        run: the run.
        checkpoint: its best checkpoint.
        problem: what it learns, from the beginning.
        model: on the CPU.
    """

    run: Run
    checkpoint: Checkpoint
    problem: Problem
    model: SequenceModel


def open_trained(run: Run, problem: Problem) -> Trained:
    """Open a run's best checkpoint.

    Args:
        run: the run.
        problem: what it learns, from the beginning.

    Raises:
        InputError: there is none, or it is not that of the run.
    """
    model = problem.build_model()

    def read_best() -> Trained:
        checkpoint = require_best(run.checkpoints)
        require_belonging(checkpoint, run, problem)
        checkpoint.load_model(model)
        return Trained(run, checkpoint, problem, model)

    return read_whole(run.checkpoints, read_best)
