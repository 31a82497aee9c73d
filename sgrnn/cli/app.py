"""The command ``sgrnn``: its subcommands, and what it does with the user's mistakes."""

import sys

import typer

from sgrnn.cli import data, diagnose, inspect, recipes, report, sweep, train
from sgrnn.cli.overrides import TAKES_OVERRIDES
from sgrnn.errors import InputError
from sgrnn.training.distributed import ProcessLost

app = typer.Typer(
    name="sgrnn",
    help="Train recurrent language models beyond their back-propagation window with synthetic gradients.\n\n"
    "Example: sgrnn train quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("train", context_settings=TAKES_OVERRIDES)(train.train)
app.command("resume")(train.resume)
app.command("sweep", context_settings=TAKES_OVERRIDES)(sweep.sweep)
app.command("evaluate")(inspect.evaluate)
app.command("generate")(inspect.generate)
app.command("compare")(inspect.compare)
app.command("diagnose")(diagnose.diagnose)
app.command("report")(report.report)
app.add_typer(recipes.app, name="recipes")
app.add_typer(data.app, name="data", help="List, fetch and check corpora.\n\nExample: sgrnn data fetch ptb")


def main() -> None:
    """Run the command line; a mistake of the user's, or a file that fails, ends in a message and exit status 2."""
    try:
        app()
    except (InputError, OSError, ProcessLost) as error:
        print(f"sgrnn: {error}", file=sys.stderr)
        sys.exit(2)
