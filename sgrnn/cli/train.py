"""``sgrnn train`` and ``sgrnn resume``."""

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgrnn.cli.options import DataOption, RecipeArgument, RunArgument, overrides_of

if TYPE_CHECKING:
    from sgrnn.config.recipe import Recipe


def train(
    context: typer.Context,
    recipe: RecipeArgument,
    run: Annotated[Path | None, typer.Option(help="Folder of the run; else runs/RECIPE-1, -2, ...")] = None,
    data: DataOption = None,
) -> None:
    """Train a model from a recipe, on a text or on a task; every field can be overridden.

    Example: sgrnn train ptb-word-small --gradient.kind=synthetic --gradient.window=5 --run runs/mine

    Several processes train it together, each on its share of training.batch_size rows, when torchrun starts them:

    Example: torchrun --nproc-per-node=2 -m -- sgrnn train ptb-word-small --run runs/mine
    """

    @cache
    def checked() -> "Recipe":
        from sgrnn.config.files import load_recipe

        return load_recipe(recipe, overrides_of(context))

    if _is_alone():
        checked()
    from sgrnn.cli.running import train_run
    from sgrnn.config.build.optimizer import choose_device
    from sgrnn.data import data_folder
    from sgrnn.training.distributed import joined
    from sgrnn.training.problems.opening import new_problem, problem_of
    from sgrnn.training.run import Run, free_folder

    with joined() as ranks:
        with ranks.leader_first() as message:
            if ranks.leads:
                settings = checked().training
                choose_device(settings.device, ranks.local_rank, ranks.local_world_size)
                ranks.local_rows(settings.batch_size)
                problem, tokenizer = new_problem(checked(), data_folder(data))
                # What can be refused has been by now, so that a refusal leaves no folder behind.
                opened = Run.create(run or free_folder(Path(recipe).stem), checked(), tokenizer)
                message.append(str(opened.folder))
            else:
                opened = Run.open(Path(message[0]))
                problem = problem_of(opened, data_folder(data))
        train_run(opened, problem, data, ranks)


def resume(context: typer.Context, run: RunArgument, data: DataOption = None) -> None:
    """Go on with a run from its latest checkpoint, as if it had never stopped.

    Fields that leave what was learned its meaning can be overridden: length and patience, intervals, learning rates,
    limits of gradients, device, the place of the texts.

    Example: sgrnn resume runs/quickstart-1

    Example: sgrnn resume runs/quickstart-1 --training.epochs=20
    """
    from sgrnn.training.run import Run

    overrides = overrides_of(context)
    if _is_alone():
        Run.open(run, overrides)
    from sgrnn.cli.running import train_run
    from sgrnn.data import data_folder
    from sgrnn.training.distributed import joined
    from sgrnn.training.problems.opening import problem_of

    with joined() as ranks:
        with ranks.leader_first():
            opened = Run.open(run, overrides)
            ranks.local_rows(opened.recipe.training.batch_size)
            problem = problem_of(opened, data_folder(data))
        train_run(opened, problem, data, ranks)


def _is_alone() -> bool:
    """Return True where a mistake may be reported at once, because no other process must know of it first."""
    return "RANK" not in os.environ
