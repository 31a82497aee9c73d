"""Tables that keep all their columns on a screen of any width."""

import os
from collections.abc import Iterator
from itertools import pairwise

from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table

_ANY = 10_000  # columns
_FEWEST = 12  # letters of prose that a line of a cell holds at least
_FRAME = 3  # a line, and a blank on either side


def numbers_table(first: str, *headings: str, title: str, left: int = 0) -> Table:
    """Make a table with names on the left and numbers on the right.

    Args:
        first: the heading of the names.
        headings: those of the figures.
        title: of the table.
        left: how many of the figures are words, and stand on the left too.
    """
    table = Table(first, title=title, title_justify="left")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place < left else "right", no_wrap=True)
    return table


def print_table(console: Console, table: Table) -> None:
    """Print a table: where the screen is too narrow for it in parts, each of which repeats the first column.

    A name goes on in the next line rather than that a letter of it is lost. What no person watches is as wide as it
    needs to be, unless COLUMNS says how wide that may be.
    """
    for column in table.columns:
        column.overflow = "fold"
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        widest = Measurement.get(console, console.options.update(max_width=_ANY), table).maximum
        console.width = max(console.width, widest)
    for part in _parts(console, table):
        console.print(part)


def _parts(console: Console, table: Table) -> Iterator[Table]:
    """The table itself where its columns have room, else tables of so many as have."""
    first = _width(console, table.columns[0], prose=False)
    others = [_width(console, column, prose=not column.no_wrap) for column in table.columns[1:]]
    room = console.width - 1
    if first + sum(others) <= room:
        yield table
        return
    first = min(first, room // 2)
    is_first, used = [1], first
    for place, width in enumerate(others, start=1):
        if used + width > room and place > is_first[-1]:
            is_first.append(place)
            used = first
        used += width
    for start, end in pairwise([*is_first, len(table.columns)]):
        part = Table(title=table.title if start == 1 else None, title_justify=table.title_justify)
        columns = [table.columns[0], *table.columns[start:end]]
        for column in columns:
            part.add_column(column.header, justify=column.justify, no_wrap=column.no_wrap, overflow=column.overflow)
        for row in zip(*(column.cells for column in columns), strict=True):
            part.add_row(*row)
        yield part


def _width(console: Console, column: Column, *, prose: bool) -> int:
    """Return the least width of a column with its frame: all of a name or a figure, a little of prose."""
    wide = console.options.update(max_width=_ANY)
    widest = max(Measurement.get(console, wide, each).maximum for each in (column.header, *column.cells))
    return (min(widest, _FEWEST) if prose else widest) + _FRAME
