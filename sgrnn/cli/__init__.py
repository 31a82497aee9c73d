"""The command line: ``sgrnn``."""

import os

# Threads that have nothing to do for the moment are to sleep: spinning, they keep a processor from whoever has work, of
# the same run too. OpenMP reads this when torch is loaded, which no module of the command line does at its top.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from sgrnn.cli.app import main

__all__ = ["main"]
