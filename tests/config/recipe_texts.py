"""Recipes without a mistake, and what is reported of a wrong one."""

import pytest

from sgrnn.config.files import parse_recipe
from sgrnn.config.recipe import Recipe
from sgrnn.errors import InputError

TEXT = """\
data: {corpus: python-docs}
model: {hidden_size: 16}
gradient: {kind: synthetic, window: 5, synthesizer: {kind: mlp, lookahead: 2}}
optimizer: {kind: sgd, learning_rate: 3e-4}
training: {epochs: 1}
"""
TASK = """\
task: {kind: copy}
model: {hidden_size: 16}
gradient: {kind: synthetic, window: 5, synthesizer: {kind: mlp, lookahead: 2}}
training: {epochs: 1}
"""


def text_recipe(*overrides: str) -> Recipe:
    """Return the recipe for a text."""
    return parse_recipe(TEXT, "mine.yaml", None, overrides)


def task_recipe(*overrides: str) -> Recipe:
    """Return the recipe for a task."""
    return parse_recipe(TASK, "mine.yaml", None, overrides)


def mistakes(text: str, *overrides: str) -> list[str]:
    """Return the lines that are reported of a wrong recipe."""
    with pytest.raises(InputError) as error:
        parse_recipe(text, "mine.yaml", None, overrides)
    return str(error.value).split("\n")
