"""A benchmark as a command: its options, and the user's mistakes as messages."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from sgrnn.errors import InputError


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with --quick and --json."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="minutes instead of hours")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the records there")
    return made


def whole(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number from `least` on."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} on, got {text}")
        return int(text)

    return read


def positive(text: str) -> float:
    """The type of an option that is a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return value


def command(main: Callable[[], None]) -> None:
    """Run a benchmark as the command line does everything: the user's mistake is a message and exit status 2."""
    try:
        main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
