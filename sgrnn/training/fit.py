"""Whether a checkpoint belongs to the run it lies in: the same text, and the same recipe in all that matters."""

from typing import Any

from sgrnn.data import TokenFiles
from sgrnn.errors import InputError
from sgrnn.training.checkpoints import Checkpoint
from sgrnn.training.recipe_files import parse_recipe
from sgrnn.training.run import Run

_MAY_CHANGE: dict[str, Any] = {
    "data": True,
    "sample": True,
    "training": {"epochs", "max_updates", "patience", "log_every", "evaluate_every", "checkpoint_every", "device"},
}
"""Fields of a run's recipe that may be edited before it is resumed."""


def require_fit(checkpoint: Checkpoint, run: Run, files: TokenFiles) -> None:
    """Refuse a checkpoint that a run cannot go on from.

    Raises:
        InputError: it was trained on another text, or by another recipe but for fields that say how long to train,
            what to keep and where.
    """
    if checkpoint.progress["text"] != files.folder.name:
        raise InputError(
            f"the text is not the one that {run.folder} was trained on: expected {checkpoint.progress['text']}, "
            f"got {files.folder.name}; point --data to the folder used then, or restore the files"
        )
    path = checkpoint.folder / "recipe.yaml"
    began = parse_recipe(checkpoint.recipe, str(path)).model_dump(exclude=_MAY_CHANGE)
    changed = [name for name, value in run.recipe.model_dump(exclude=_MAY_CHANGE).items() if began[name] != value]
    if changed:
        raise InputError(
            f"{run.folder / 'recipe.yaml'}: {', '.join(changed)} must stay as in {path}, which the run began with; "
            "restore the file, or begin a new run"
        )
