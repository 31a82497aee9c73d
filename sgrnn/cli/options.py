"""Arguments and options that several commands share."""

from difflib import get_close_matches
from os.path import expanduser  # which leaves what it does not know as it is
from pathlib import Path
from typing import Annotated

import typer

from sgrnn.errors import InputError

TAKES_OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}
"""For typer: unknown options are the recipe's, such as --gradient.window=5, and are checked there."""


def at_home(path: Path | None) -> Path | None:
    """Return a path with `~` for the home folder, which shells leave as it is in `--run=~/runs/mine`."""
    return None if path is None else Path(expanduser(path))


def _names(incomplete: str) -> list[str]:
    """List the recipes of which a name may be the beginning; files the shell finds by itself."""
    from sgrnn.config.files import shipped_recipes

    return [name for name in shipped_recipes() if name.startswith(incomplete)]


RecipeArgument = Annotated[
    str, typer.Argument(help="Name of a shipped recipe, or path of a .yaml file.", autocompletion=_names)
]
RunArgument = Annotated[Path, typer.Argument(help="The run's folder.", callback=at_home)]
DataOption = Annotated[Path | None, typer.Option("--data", help="Data folder; else $SGRNN_DATA, else ./data.")]


def overrides_of(context: typer.Context) -> list[str]:
    """List the recipe fields among a command's arguments.

    Raises:
        InputError: one is no field but an option of the command itself, misspelled.
    """
    own = [option for parameter in context.command.params for option in parameter.opts]
    for argument in context.args:
        name = argument.partition("=")[0]
        close = get_close_matches(name, own, n=1, cutoff=0.75) if "." not in name else []
        if name.startswith("--") and close:
            raise InputError(f"{name} is no option of {context.command_path}; did you mean {close[0]}?")
    return context.args
