"""A run's best checkpoint, opened with what it has learned."""

from dataclasses import dataclass
from pathlib import Path

from sgrnn.models.sequence_model import SequenceModel
from sgrnn.training.checkpoints import Checkpoint, require_best
from sgrnn.training.fit import require_fit
from sgrnn.training.problems.opening import problem_of
from sgrnn.training.problems.problem import Problem
from sgrnn.training.run import Run


@dataclass(frozen=True)
class Trained:
    """A model as a run has trained it best.

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


def open_trained(run: Run, folder: Path) -> Trained:
    """Open a run's best checkpoint.

    Args:
        run: the run.
        folder: the data folder.

    Raises:
        InputError: there is none, it is not that of the run, or a file of the problem is missing.
    """
    checkpoint = require_best(run.checkpoints)
    problem = problem_of(run, folder)
    require_fit(checkpoint, run, problem)
    model = problem.build_model()
    checkpoint.load_model(model)
    return Trained(run, checkpoint, problem, model)
