"""A check that a checkpoint belongs to the run it lies in: the same text or task, and the recipe where it matters."""

from sgrnn.config.changes import refusals
from sgrnn.config.recipe import Recipe
from sgrnn.errors import InputError
from sgrnn.training.checkpoints import Checkpoint
from sgrnn.training.kept_recipes import parse_kept
from sgrnn.training.problems.problem import Problem
from sgrnn.training.run import Run

_PURPOSES = {"train": "train on", "valid": "validate on", "test": "test on"}


def require_fit(checkpoint: Checkpoint, run: Run, problem: Problem) -> Recipe:
    """Refuse a checkpoint that a run cannot go on from, and return the recipe by which it was trained.

    Raises:
        InputError: it was trained on another text or task, or by a recipe that differs in what a run keeps
            (`sgrnn.config.changes`).
    """
    began = parse_kept(checkpoint.recipe, str(checkpoint.folder / "recipe.yaml"))
    if refused := list(refusals(began, run.recipe, run.folder)):
        raise InputError("\n".join(f"{run.folder / 'recipe.yaml'}: {message}" for message in refused))
    began_with = checkpoint.progress.get(problem.kind)
    if began_with != problem.identity:
        before = run.texts()
        if changed := [split for split, digest in problem.texts.items() if before.get(split, digest) != digest]:
            found = f"what it is to {' and '.join(_PURPOSES[split] for split in changed)} has changed"
        else:
            found = f"expected {began_with}, got {problem.identity}"
        own = run.recipe.data is not None and run.recipe.data.corpus == "text"
        raise InputError(
            f"the {problem.kind} is not the one that {run.folder} was trained on: {found}; restore the files"
            + ("" if own else ", or point --data to the folder used then")
        )
    return began
