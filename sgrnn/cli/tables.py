"""Tables of figures, as wide as they need where nobody's screen is too narrow."""

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_ANY = 10_000  # columns


def print_table(console: Console, table: Table) -> None:
    """Print a table, on a terminal within its width."""
    if not console.is_terminal:
        console.width = max(
            console.width, Measurement.get(console, console.options.update(max_width=_ANY), table).maximum
        )
    console.print(table)
