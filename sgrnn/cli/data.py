"""Commands `sgrnn data`: list corpora, bring them in, check them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from sgrnn.cli.options import at_home
from sgrnn.cli.tables import print_table
from sgrnn.training.console import PlainConsole

app = typer.Typer(no_args_is_help=True, help="List, fetch and check corpora.")

_Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Data folder; without it SGRNN_DATA, else ./data."),
]
_OTHERS = (
    ("ptb-char", "the characters of ptb, derived from it", "as ptb"),
    ("python-docs", "the language reference that comes with Python", "Python Software Foundation License"),
    ("text", "your own files, named in the recipe", "yours"),
)


@app.command("list")
def list_data(data: _Data = None) -> None:
    """List every corpus with its state in the data folder.

    Example: sgrnn data list --data ~/corpora
    """
    from sgrnn.data.catalog import CATALOG
    from sgrnn.data.store import data_folder, status

    folder = data_folder(data)
    table = Table(title=Text(f"Data in {folder}"), title_justify="left")
    for heading in ("name", "state", "size", "what it is", "terms"):
        short = heading in ("name", "state", "size")
        table.add_column(heading, justify="right" if heading == "size" else "left", no_wrap=short)
    states = {"python-docs": "present", "text": ""}
    for entry in CATALOG.values():
        present = status(entry.name, folder)
        states[entry.name] = present.state
        size = f"{present.num_bytes / 1e6:.1f} MB" if present.num_bytes else ""
        table.add_row(entry.name, present.state, size, entry.description, entry.terms)
    states["ptb-char"] = states["ptb"]
    for name, description, terms in _OTHERS:
        table.add_row(name, states[name], "", description, terms)
    print_table(PlainConsole(highlight=True), table)


@app.command("fetch")
def fetch_data(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="One or more of ptb, ptb-char, wikitext-2 and mnist.")
    ],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Import the files from this folder instead.", callback=at_home),
    ] = None,
    data: _Data = None,
) -> None:
    """Download corpora, or import them from files you have, and check their digests.

    Example: sgrnn data fetch ptb --from ~/penn-treebank
    """
    from sgrnn.data.catalog import catalog_entry
    from sgrnn.data.store import data_folder, fetch

    console = PlainConsole()
    for name in names:
        catalog_entry(name)  # so that nothing is fetched where a name is wrong
    for name in names:
        with console.status(f"fetching {name}"):
            paths = fetch(name, data_folder(data), source)
        for path in paths:
            console.print(f"{path}  {path.stat().st_size:,} bytes", soft_wrap=True)


@app.command("check")
def check_data(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Without it, all that is there.")] = None,
    data: _Data = None,
) -> None:
    """Check the digests of what has been fetched; exit status 2 when something is missing or damaged.

    Example: sgrnn data check ptb
    """
    from sgrnn.data.catalog import CATALOG
    from sgrnn.data.store import data_folder, status, verify

    console = PlainConsole()
    folder = data_folder(data)
    names = [name] if name else [entry for entry in CATALOG if status(entry, folder).state != "absent"]
    for intact in [verify(name, folder) for name in names]:
        console.print(f"{intact.name}: intact, {intact.num_bytes:,} bytes")
    if not names:
        console.print(f"nothing has been fetched to {folder}", soft_wrap=True)
