"""``python -m sgrnn``."""

from sgrnn.cli import main

if __name__ == "__main__":
    main()
