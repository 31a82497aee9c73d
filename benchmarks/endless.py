"""Tasks as endless streams: at every step a reading for each row, and sometimes an answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sgrnn.data import CharacterTokenizer, data_folder, load_texts


@dataclass(frozen=True)
class Reading:
    """A step of a stream.

    Args:
        inputs, targets: of all rows.
        answered: rows whose target is known; None for all.
    """

    inputs: Tensor
    targets: Tensor
    answered: Tensor | None = None


def repeat_after(gap: int, rows: int, seed: int) -> Iterator[Reading]:
    """Yield random bits as inputs -1 and 1, each to be repeated `gap` steps later. Without memory a bit costs a bit."""
    random = torch.Generator().manual_seed(seed)
    bits = torch.randint(0, 2, (gap + 1, rows, 1), generator=random).float()
    while True:
        yield Reading(bits[-1] * 2 - 1, bits[0])
        bits = torch.cat([bits[1:], torch.randint(0, 2, (1, rows, 1), generator=random).float()])


def memory_chain(length: int, rows: int, seed: int) -> Iterator[Reading]:
    """Yield a cue, noise for `length` steps, and a step at which the cue is asked for; chains of rows are out of step.

    The memory chain of reinforcement learning as supervised recall: nothing else is ever answered. Inputs are the
    cue of -1 or 1, or 0; noise; and a mark of the step that asks.
    """
    random = torch.Generator().manual_seed(seed)
    place = torch.arange(rows) * (length + 1) // rows
    cue = torch.zeros(rows)
    while True:
        new = torch.randint(0, 2, (rows,), generator=random) * 2.0 - 1
        begins, asks = place == 0, place == length
        cue = torch.where(begins, new, cue)
        noise = torch.randint(0, 2, (rows,), generator=random) * 2.0 - 1
        inputs = torch.stack([torch.where(begins, new, 0.0), noise * ~begins, asks.float()], dim=1)
        yield Reading(inputs, (cue > 0).float().unsqueeze(1), asks)
        place = torch.where(asks, 0, place + 1)


def text(tokens: NDArray[np.integer], rows: int) -> Iterator[Reading]:
    """Yield a text in contiguous rows once, each token to be predicted from those before it."""
    laid_out = torch.from_numpy(tokens[: len(tokens) // rows * rows].astype(np.int64)).view(rows, -1).T
    for inputs, targets in pairwise(laid_out):
        yield Reading(inputs, targets)


def open_stream(task: str, length: int, rows: int, seed: int) -> tuple[Iterator[Reading], int, int]:
    """Return the readings of a task, the features of its inputs, and the size of its vocabulary, 0 but for texts."""
    if task == "gap":
        return repeat_after(length, rows, seed), 1, 0
    if task == "chain":
        return memory_chain(length, rows, seed), 3, 0
    names = ["ptb-char"] if task == "text" else ["ptb-char", "python-docs", "ptb-char"]
    texts = [load_texts(name, data_folder()).texts["train"][: length * 1000] for name in names]
    tokenizer = CharacterTokenizer.from_text("".join(texts))
    return text(tokenizer.encode("".join(texts)), rows), 0, tokenizer.vocabulary_size
