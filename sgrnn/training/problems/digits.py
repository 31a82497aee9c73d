"""MNIST's images as splits, from the data folder."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sgrnn.data import verify
from sgrnn.tasks import read_idx

_VALID = 5_000  # images at the end of the published train files


def read_digits(folder: Path) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Images (n, 28, 28) and labels (n,) by split: 55,000 for train, 5,000 for valid, 10,000 for test.

    Args:
        folder: the data folder.

    Raises:
        InputError: a file is missing or damaged; the message says how to get it.
    """
    verify("mnist", folder)
    (images, labels), test = (
        (read_idx(folder / "mnist" / f"{name}-images-idx3-ubyte.gz"),
         read_idx(folder / "mnist" / f"{name}-labels-idx1-ubyte.gz"))
        for name in ("train", "t10k")
    )  # fmt: skip
    return {
        "train": (images[:-_VALID], labels[:-_VALID]),
        "valid": (images[-_VALID:], labels[-_VALID:]),
        "test": test,
    }
