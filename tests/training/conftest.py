"""A small text in a folder, and runs of the small recipe on it."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import copytree

import pytest

from sgrnn.config.files import parse_recipe
from sgrnn.training.problems.opening import new_problem
from sgrnn.training.problems.text_problem import TextProblem
from sgrnn.training.run import Run

from .tiny import RECIPE, Training

Start = Callable[..., Training]


def make_folder(folder: Path) -> Path:
    """Fill a folder with train.txt, valid.txt and test.txt: lines of four words of three letters."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=3)) for _ in range(20)]
    for split, lines in (("train", 13), ("valid", 4), ("test", 3)):
        (folder / f"{split}.txt").write_text("".join(" ".join(draw.choices(words, k=4)) + "\n" for _ in range(lines)))
    return folder


def start_in(folder: Path, name: str, *overrides: str, recipe: str = RECIPE) -> Training:
    """Create a run of the small recipe in such a folder."""
    parsed = parse_recipe(recipe, "recipe.yaml", folder, overrides)
    problem, tokenizer = new_problem(parsed, folder / "data")
    assert isinstance(problem, TextProblem)
    return Training(Run.create(folder / name, parsed, tokenizer), problem.files)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small text."""
    return make_folder(tmp_path)


@pytest.fixture
def start(folder: Path) -> Start:
    """Create a run of the small recipe: `start("name", "--training.seed=1")`."""
    return partial(start_in, folder)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A run of the small recipe that was trained to its end in one go; nothing may be written to it."""
    training = start_in(make_folder(tmp_path_factory.mktemp("whole")), "whole")
    training()
    return training


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Training:
    training = start_in(make_folder(tmp_path_factory.mktemp("trained")), "run")
    training(4)
    return training


@pytest.fixture
def trained(_trained: Training, tmp_path: Path) -> Training:
    """A run of the small recipe that stands at update 4, for the test alone."""
    copytree(_trained.run.folder, tmp_path / "run")
    return Training(Run.open(tmp_path / "run"), _trained.files)
