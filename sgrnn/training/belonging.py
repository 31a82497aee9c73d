"""A check that a checkpoint belongs to the run it lies in: the same text or task, and the recipe where it matters."""

from collections.abc import Collection

from sgrnn.config.changes import refusals
from sgrnn.config.recipe import Recipe
from sgrnn.errors import InputError
from sgrnn.training.checkpoints import Checkpoint
from sgrnn.training.kept_recipes import parse_kept
from sgrnn.training.problems.problem import Problem
from sgrnn.training.run import Run

_PURPOSES = {"train": "train on", "valid": "validate on", "test": "test on"}


def require_belonging(checkpoint: Checkpoint, run: Run, problem: Problem) -> Recipe:
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
        require_texts(run, problem)
        raise _other(run, problem, f"expected {began_with}, got {problem.identity}")
    return began


def require_texts(run: Run, problem: Problem, splits: Collection[str] = tuple(_PURPOSES)) -> None:
    """Refuse texts that are not those that a run was trained on.

    Args:
        run: the run.
        problem: what is learned, with the texts as they are now.
        splits: the texts that matter.

    Raises:
        InputError: some are not.
    """
    before = run.texts()
    changed = [name for name, digest in problem.texts.items() if name in splits and before.get(name, digest) != digest]
    if changed:
        found = f"what it is to {' and '.join(_PURPOSES[split] for split in changed)} has changed"
        raise _other(run, problem, found)


def _other(run: Run, problem: Problem, found: str) -> InputError:
    own = run.recipe.data is not None and run.recipe.data.corpus == "text"
    remedy = "" if own else ", or point --data to the folder used then"
    return InputError(
        f"the {problem.kind} is not the one that {run.folder} was trained on: {found}; restore the files{remedy}"
    )
