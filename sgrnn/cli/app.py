"""The command ``sgrnn``: its subcommands, and what it does with the user's mistakes.

Modules of this package import at their top only what it takes to read a command; what a command works with is imported
in its function, once its arguments are known to be good. So help and typing errors take no time.
"""

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from sgrnn import __version__
from sgrnn.cli import data, diagnose, evaluate, export, inspect, recipes, report, sweep, train
from sgrnn.cli.options import TAKES_OVERRIDES
from sgrnn.errors import InputError, ProcessLost, is_of_memory

app = typer.Typer(
    name="sgrnn",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("train", context_settings=TAKES_OVERRIDES)(train.train)
app.command("resume", context_settings=TAKES_OVERRIDES)(train.resume)
app.command("sweep", context_settings=TAKES_OVERRIDES)(sweep.sweep)
app.command("evaluate")(evaluate.evaluate)
app.command("generate")(inspect.generate)
app.command("export")(export.export)
app.command("compare")(inspect.compare)
app.command("diagnose")(diagnose.diagnose)
app.command("report")(report.report)
app.add_typer(recipes.app, name="recipes")
app.add_typer(data.app, name="data", help="List, fetch and check corpora.\n\nExample: sgrnn data fetch ptb")


def _print_version(asked: bool) -> None:
    if asked:
        print(f"sgrnn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train recurrent networks beyond their back-propagation window with synthetic gradients.

    Example: sgrnn train quickstart
    """


def main() -> None:
    """Run the command line; a mistake of the user's, or a file that fails, ends in a message and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a console, a file or a pipe may know fewer characters than a text has
            stream.reconfigure(errors="replace")
    try:
        app()
    except (InputError, OSError, ProcessLost) as error:
        print(f"sgrnn: {error}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not is_of_memory(error):
            raise
        what = str(error).strip().partition("\n")[0] or "no more is to be had"
        print(
            f"sgrnn: the memory does not suffice: {what}; ask for less, of a recipe a smaller training.batch_size or "
            "training.span, or smaller sizes in model, gradient and task",
            file=sys.stderr,
        )
        sys.exit(2)
