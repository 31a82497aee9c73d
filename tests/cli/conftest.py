"""A folder with a small text and a small recipe, and the command line within it."""

import random
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from shutil import copytree

import pytest

from sgrnn.cli import main

from .commands import Commands, records_of

RECIPE = """
data: {corpus: text, train: texts/train.txt, valid: texts/valid.txt, test: texts/test.txt, tokenizer: {kind: character}}
model: {core: lstm, hidden_size: 12, embedding_size: 6, dropout: 0.2}
gradient: {kind: synthetic, window: 3,
  synthesizer: {kind: mlp, lookahead: 2, projection: ~, hidden_sizes: [8]}}
optimizer: {kind: adam, learning_rate: 1e-2}
schedule: {kind: plateau, factor: 0.5}
training: {epochs: 100, max_updates: 10, batch_size: 4, span: 6, log_every: 3, device: cpu}
sample: {prompt: "a", length: 30}
"""


def make_folder(folder: Path) -> Path:
    """Fill a folder with tiny.yaml, and texts/ of lines of four words of three letters."""
    (folder / "tiny.yaml").write_text(RECIPE)
    (folder / "texts").mkdir()
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=3)) for _ in range(20)]
    for split, lines in (("train", 13), ("valid", 4), ("test", 3)):
        (folder / "texts" / f"{split}.txt").write_text(
            "".join(" ".join(draw.choices(words, k=4)) + "\n" for _ in range(lines))
        )
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a small recipe and a small text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SGRNN_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    return make_folder(tmp_path)


@pytest.fixture(scope="session")
def _runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs that the command line has trained: `mine`, its best checkpoint not its last, and `tiny`."""
    folder = make_folder(tmp_path_factory.mktemp("runs"))
    mine = ("--training.max_updates=60", "--optimizer.learning_rate=0.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("SGRNN_DATA", raising=False)
        for name, options in (("mine", mine), ("tiny", ())):
            patch.setattr(sys, "argv", ["sgrnn", "train", "tiny.yaml", "--run", name, *options])
            with pytest.raises(SystemExit) as ended, redirect_stdout(StringIO()):
                main()
            assert not ended.value.code
    return folder


@pytest.fixture
def mine(folder: Path, _runs: Path) -> str:
    """A run whose best checkpoint is not its last, for the test alone."""
    copytree(_runs / "mine", folder / "mine")
    losses = [record["valid_loss"] for record in records_of("mine") if "valid_loss" in record]
    assert min(losses) < losses[-1]
    return "mine"


@pytest.fixture
def tiny(folder: Path, _runs: Path) -> str:
    """A run of tiny.yaml as it is, for the test alone."""
    copytree(_runs / "tiny", folder / "tiny")
    return "tiny"


@pytest.fixture
def sgrnn(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    """`sgrnn("train", "tiny.yaml")` runs a command in the folder."""
    return Commands(folder, capsys, monkeypatch)
