"""The command line: ``sgrnn``."""

from sgrnn.cli.app import main

__all__ = ["main"]
