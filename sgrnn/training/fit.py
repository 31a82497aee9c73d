"""A check that a checkpoint belongs to the run it lies in: the same text or task, and the recipe where it matters."""

from typing import Any

from sgrnn.config.files import parse_recipe
from sgrnn.errors import InputError
from sgrnn.training.checkpoints import Checkpoint
from sgrnn.training.problems.problem import Problem
from sgrnn.training.run import Run

_MAY_CHANGE: dict[str, Any] = {
    "data": True,
    "sample": True,
    "training": {
        "epochs", "max_updates", "patience", "log_every", "evaluate_every", "diagnosis", "checkpoint_every", "device",
        "threads",
    },
}  # fmt: skip
"""Fields of a run's recipe that may be edited before it is resumed."""


def require_fit(checkpoint: Checkpoint, run: Run, problem: Problem) -> None:
    """Refuse a checkpoint that a run cannot go on from.

    Raises:
        InputError: it was trained on another text or task, or by another recipe but for fields that say how long to
            train, what to keep and where.
    """
    path = checkpoint.folder / "recipe.yaml"
    began = parse_recipe(checkpoint.recipe, str(path)).model_dump(exclude=_MAY_CHANGE)
    changed = [name for name, value in run.recipe.model_dump(exclude=_MAY_CHANGE).items() if began[name] != value]
    if changed:
        raise InputError(
            f"{run.folder / 'recipe.yaml'}: {', '.join(changed)} must stay as in {path}, which the run began with; "
            "restore the file, or begin a new run"
        )
    began_with = checkpoint.progress.get(problem.kind)
    if began_with != problem.identity:
        raise InputError(
            f"the {problem.kind} is not the one that {run.folder} was trained on: expected {began_with}, "
            f"got {problem.identity}; point --data to the folder used then, or restore the files"
        )
