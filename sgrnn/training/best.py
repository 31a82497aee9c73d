"""What a run has come to at its best: the figures of the weights that it keeps."""

from typing import Any

from sgrnn.training.checkpoints import best_update
from sgrnn.training.problems.problem import rank
from sgrnn.training.run import Run


def best_record(run: Run) -> dict[str, Any] | None:
    """The evaluation of a run's best checkpoint, as it was logged; None before there is one.

    Where no checkpoint is left, the best evaluation that was logged.

    Raises:
        InputError: the latest checkpoint is damaged.
    """
    evaluations = [record for record in run.records() if "valid_loss" in record]
    if (update := best_update(run.checkpoints)) is not None:
        evaluations = [record for record in evaluations if record["update"] == update]
    return min(evaluations, key=lambda record: rank(record, "valid_"), default=None)
