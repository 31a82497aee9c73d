"""Recipes that runs have kept, read as they were meant: a field of today that one lacks was no choice then."""

import re

from sgrnn.config.files import parse_recipe
from sgrnn.config.overrides import Overrides
from sgrnn.config.recipe import Recipe

# A section of before there was a choice, when the model was always run ahead.
_BEFORE_TARGETS = re.compile(r"^gradient:\n  kind: synthetic\n(?:  (?!ahead:).*\n)*(?=\S|\Z)", re.MULTILINE)


def parse_kept(text: str, source: str, overrides: Overrides = ()) -> Recipe:
    """Read the recipe of a run or of a checkpoint, also one that was written before `gradient.ahead`.

    Args:
        text: as `dump_recipe` wrote it, and so with all the fields that there were.
        source: what messages call it.
        overrides: as `load_recipe` takes them.

    Raises:
        InputError: as `parse_recipe`.
    """
    meant = ["--gradient.ahead=model"] if _BEFORE_TARGETS.search(text) else []
    return parse_recipe(text, source, overrides=[*meant, *overrides])
