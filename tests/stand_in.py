"""What stands in for the Penn Treebank and MNIST where a test needs their form and not themselves.

The same on every machine: drawn by generators with a seed.
"""

import gzip
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from random import Random

import numpy as np
import pytest

from sgrnn.data import corpora
from sgrnn.data.atomic import bytes_digest, file_digest
from sgrnn.data.catalog import CATALOG, CatalogFile

TRAIN_IMAGES, TEST_IMAGES = 5_200, 300  # the last 5,000 of those for training are the valid split

_CONSONANTS, _VOWELS = "bcdfghjklmnpqrstvwxyz", "aeiou"


def make_lines(number: int, seed: int = 0) -> str:
    """Lines of words as those of the Penn Treebank are: lower case, short words the more frequent, `<unk>` and `N`."""
    draw = Random(0)
    syllables = [first + second for first in _CONSONANTS for second in _VOWELS]
    words = dict.fromkeys("".join(draw.choices(syllables, k=1 + rank // 150)) for rank in range(900))
    vocabulary = ["<unk>", "N", *words]
    weights = list(accumulate(1 / (rank + 3) for rank in range(len(vocabulary))))
    draw = Random(seed)
    lines = (draw.choices(vocabulary, cum_weights=weights, k=draw.randint(3, 40)) for _ in range(number))
    return "".join(" ".join(line) + "\n" for line in lines)


def make_ptb(folder: Path) -> None:
    """A data folder's Penn Treebank, with the blanks at both ends of a line that its files have."""
    (folder / "ptb").mkdir()
    for seed, (name, lines) in enumerate((("train", 2000), ("valid", 200), ("test", 240))):
        text = "".join(f" {line} \n" for line in make_lines(lines, seed).splitlines())
        (folder / "ptb" / f"ptb.{name}.txt").write_text(text)


def make_mnist(folder: Path) -> None:
    """A data folder's MNIST: every image another, of random pixels."""
    (folder / "mnist").mkdir()
    draw = np.random.default_rng(0)
    for name, number in (("train", TRAIN_IMAGES), ("t10k", TEST_IMAGES)):
        images = draw.integers(0, 256, (number, 28, 28)).astype(np.uint8)
        labels = draw.integers(0, 10, number).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = b"".join(size.to_bytes(4, "big") for size in (0x0800 + array.ndim, *array.shape))
            packed = gzip.compress(header + array.tobytes(), compresslevel=1, mtime=0)
            (folder / "mnist" / f"{name}-{kind}-ubyte.gz").write_bytes(packed)


def accept(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the catalog expect what lies in a data folder in the place of the published files."""
    for name in ("ptb", "mnist"):
        files = tuple(CatalogFile(f.name, file_digest(folder / name / f.name)) for f in CATALOG[name].files)
        patch.setitem(CATALOG, name, replace(CATALOG[name], files=files))
    characters = {}
    for split in corpora.SPLITS:
        words = (folder / "ptb" / f"ptb.{split}.txt").read_text()
        text = "".join(line.strip().replace(" ", "_") + "\n" for line in words.splitlines())
        characters[split] = bytes_digest((" ".join(text) + " ").encode())
    patch.setattr(corpora, "_PTB_CHAR_DIGESTS", characters)
