"""The console that training and commands print to."""

from rich.console import Console


def plain_console(*, highlight: bool = False, soft_wrap: bool = False) -> Console:
    """Return a console that prints texts as they stand, square brackets and names between colons among them.

    Args:
        highlight: whether numbers and paths have colors.
        soft_wrap: whether long lines are left to the terminal to wrap.
    """
    return Console(markup=False, emoji=False, highlight=highlight, soft_wrap=soft_wrap)
