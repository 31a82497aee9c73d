"""The console that training and commands print to."""

import os
import sys
from contextlib import suppress
from typing import final

from rich.console import Console

from sgrnn.errors import InputError


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

    def _check_buffer(self) -> None:
        """Write what is to be printed; a disk that is full under standard output is said to be that one."""
        try:
            super()._check_buffer()
        except OSError as error:
            self._print_no_more()
            raise InputError(f"cannot write to standard output: {error.strerror or error}") from None

    def on_broken_pipe(self) -> None:
        """Print no more; rich would end the process."""
        self.is_lost = True
        self._print_no_more()

    def _print_no_more(self) -> None:
        """Leave what stands in the stream's buffer, and what comes, to nobody."""
        self.quiet = True
        with suppress(OSError, ValueError), open(os.devnull, "wb") as nobody:  # it may be no file of the system's
            os.dup2(nobody.fileno(), self.file.fileno())

    def print_last(self, text: str) -> None:
        """Print how a command that was stopped goes on, where nobody reads the console on standard error."""
        if not self.is_lost:
            self.print(text)
        with suppress(OSError):  # nobody may read that either
            if self.is_lost:
                print(f"nobody reads standard output any more: {text}", file=sys.stderr)
