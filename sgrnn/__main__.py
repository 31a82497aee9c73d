"""``python -m sgrnn``."""

from sgrnn.cli import main

main()
