"""The console that training and commands print to."""

import os
import sys
from contextlib import suppress
from typing import final

from rich.console import Console


@final
class PlainConsole(Console):
    """A console that prints texts as they stand, square brackets and names between colons among them.

    Where nobody reads it any more, as behind ``| head``, what is printed goes nowhere: `is_lost` says so.

    Args:
        highlight: whether numbers and paths have colors.
        soft_wrap: whether long lines are left to the terminal to wrap.
    """

    def __init__(self, *, highlight: bool = False, soft_wrap: bool = False) -> None:
        # rich would take a width of 0 at its word, and print nothing.
        columns = os.environ.get("COLUMNS", "")
        width = 80 if columns and not columns.strip("0") else None
        super().__init__(markup=False, emoji=False, highlight=highlight, soft_wrap=soft_wrap, width=width)
        self.is_lost = False

    def on_broken_pipe(self) -> None:
        """Print no more, and leave what stands in the stream's buffer to nobody; rich would end the process."""
        self.quiet = self.is_lost = True
        with open(os.devnull, "wb") as nobody:
            os.dup2(nobody.fileno(), sys.stdout.fileno())

    def print_last(self, text: str) -> None:
        """Print how a command that was stopped goes on, where nobody reads the console on standard error."""
        if not self.is_lost:
            self.print(text)
        with suppress(OSError):  # nobody may read that either
            if self.is_lost:
                print(f"nobody reads standard output any more: {text}", file=sys.stderr)
