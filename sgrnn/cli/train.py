"""``sgrnn train`` and ``sgrnn resume``."""

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sgrnn.cli.options import DataOption, RecipeArgument, RunArgument, at_home, overrides_of

if TYPE_CHECKING:
    from sgrnn.config.recipe import Recipe


def train(
    context: typer.Context,
    recipe: RecipeArgument,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run; else runs/RECIPE-1, -2, ...", callback=at_home)
    ] = None,
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
    from sgrnn.session import begin
    from sgrnn.training.loop import Interrupted

    try:
        begin(checked, Path(recipe).stem, run, data)
    except Interrupted:
        raise typer.Exit(130) from None


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
    from sgrnn import session
    from sgrnn.training.loop import Interrupted

    try:
        session.resume(run, data, overrides)
    except Interrupted:
        raise typer.Exit(130) from None


def _is_alone() -> bool:
    """Return True where a mistake may be reported at once, because no other process must know of it first."""
    return "RANK" not in os.environ
