"""A small text in a folder, and runs of the small recipe on it."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from sgrnn.config.files import parse_recipe
from sgrnn.data import prepare
from sgrnn.training.problems.corpus import make_tokenizer, read_corpus
from sgrnn.training.run import Run

from .tiny import RECIPE, Training

Start = Callable[..., Training]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with train.txt, valid.txt and test.txt: lines of four words of three letters."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=3)) for _ in range(20)]
    for split, lines in (("train", 13), ("valid", 4), ("test", 3)):
        (tmp_path / f"{split}.txt").write_text("".join(" ".join(draw.choices(words, k=4)) + "\n" for _ in range(lines)))
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Start:
    """Create a run of the small recipe: `start("name", "--training.seed=1")`."""

    def create(name: str, *overrides: str) -> Training:
        recipe = parse_recipe(RECIPE, "recipe.yaml", folder, overrides)
        corpus = read_corpus(recipe, folder / "data")
        tokenizer = make_tokenizer(recipe, corpus)
        return Training(Run.create(folder / name, recipe, tokenizer), prepare(corpus, tokenizer, folder / "data"))

    return create
