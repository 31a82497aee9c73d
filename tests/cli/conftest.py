"""A folder with a small text and a small recipe, and the command line within it."""

import random
from pathlib import Path

import pytest

from .commands import Commands

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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: tiny.yaml, and texts/ of lines of four words of three letters."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SGRNN_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    (tmp_path / "texts").mkdir()
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=3)) for _ in range(20)]
    for split, lines in (("train", 13), ("valid", 4), ("test", 3)):
        (tmp_path / "texts" / f"{split}.txt").write_text(
            "".join(" ".join(draw.choices(words, k=4)) + "\n" for _ in range(lines))
        )
    return tmp_path


@pytest.fixture
def sgrnn(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    """`sgrnn("train", "tiny.yaml")` runs a command in the folder."""
    return Commands(folder, capsys, monkeypatch)
