"""Handwritten digits read piece by piece (Le, Jaitly & Hinton 2015), and the files that hold them."""

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import Any, Literal, final, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sgrnn.errors import InputError, at_least
from sgrnn.tasks.scores import class_correct, cross_entropy
from sgrnn.tasks.task import Task

By = Literal["pixel", "row", "image"]

_SIDE = 28  # pixels
_CLASSES = 10
_AXES = {0x0803: 3, 0x0801: 1}  # magic numbers of files of images and of labels: unsigned bytes, so many axes


@final
class SequentialMNIST(Task):
    """Read an image, from top to bottom and from left to right, and name its digit at the last step.

    Every epoch goes once through the images in an order of its own, B at a time; what is left over is dropped.

    Inputs are the pixels from 0 to 1: one a step for 784 steps, the 28 of a row for 28 steps, or all in one step.
    Outputs are unnormalized log-probabilities of the ten digits; the loss is their cross-entropy at the last step,
    in nats.

    >>> images, labels = np.zeros((5, 28, 28), np.uint8), np.arange(5)
    >>> task = SequentialMNIST(images, labels, batch_size=2, by="row")
    >>> episode = task.draw()
    >>> episode.inputs.shape, episode.targets.shape, task.episodes_per_epoch
    (torch.Size([28, 2, 28]), torch.Size([28, 2, 11]), 2)

    Args:
        images: (n, 28, 28) uint8, as `read_idx` gives them.
        labels: (n,) integers from 0 to 9.
        batch_size: B, the number of rows.
        by: the part of an image that is read at a step, ``pixel``, ``row`` (28 steps, as in Pemberton & Costa 2024)
            or ``image``, all of it, for a feed-forward network.
        shuffle: give every epoch an order of its own; False goes through the images as they are given, as a test
            needs it.
        seed: of the order.
    """

    loss = staticmethod(cross_entropy)
    correct = staticmethod(class_correct)

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.integer],
        batch_size: int,
        *,
        by: By = "pixel",
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        images, labels = np.asarray(images), np.asarray(labels)
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (_SIDE, _SIDE):
            raise ValueError(f"images must be (n, {_SIDE}, {_SIDE}) uint8, got {images.shape} {images.dtype}")
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"labels must be ({len(images)},) integers like images, got {labels.shape} {labels.dtype}")
        if labels.size and not (labels.min() >= 0 and labels.max() < _CLASSES):
            raise ValueError(f"labels must be from 0 to {_CLASSES - 1}, got {labels.min()} to {labels.max()}")
        if by not in get_args(By):
            raise ValueError(f"by must be pixel, row or image, got {by!r}")
        features = {"pixel": 1, "row": _SIDE, "image": _SIDE * _SIDE}[by]
        super().__init__(features, _CLASSES, batch_size, seed, images=len(images), by=by, shuffle=shuffle)
        at_least("number of images", len(images), batch_size)
        self.by, self.shuffle = by, shuffle
        self.episodes_per_epoch = len(images) // batch_size
        # torch warns of arrays that must not be written, such as those mapped from a file, and refuses reversed ones.
        self._images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        self._labels = torch.from_numpy(labels.astype(np.int64))
        self._order = torch.arange(len(images))

    @property
    def steps(self) -> int:
        """S, the number of steps: 784 by pixel, 28 by row, 1 by image."""
        return _SIDE * _SIDE // self.input_size

    def _draw(self) -> tuple[Tensor, Tensor]:
        place = self.episodes % self.episodes_per_epoch
        if place == 0 and self.shuffle:
            self._order = torch.randperm(len(self._images), generator=self._generator)
        chosen = self._order[place * self.batch_size : (place + 1) * self.batch_size]
        inputs = self._images[chosen].view(self.batch_size, self.steps, self.input_size).transpose(0, 1).float() / 255
        targets = torch.zeros(self.steps, self.batch_size, _CLASSES + 1)
        targets[-1, :, :-1] = F.one_hot(self._labels[chosen], _CLASSES)
        targets[-1, :, -1] = 1
        return inputs.contiguous(), targets

    def state_dict(self) -> dict[str, Any]:
        """Return the state of `Task.state_dict`, with the order of the present epoch."""
        return {**super().state_dict(), "order": self._order}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of a task of the same arguments, with the order of its epoch."""
        super().load_state_dict(state)
        self._order = state["order"].cpu()


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one of MNIST's files of images or labels (IDX format), packed with gzip or not.

    Returns:
        (n, 28, 28) images or (n,) labels.

    Raises:
        InputError: the file is missing, damaged or of another format; the message says which.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected an IDX file of MNIST: check the path") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; expected an IDX file of MNIST") from error
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} is not a whole gzip file: {error}; fetch it again") from error
    magic = int.from_bytes(content[:4], "big")
    if len(content) < 4 or magic not in _AXES:
        found = f"the magic number {magic}" if len(content) >= 4 else f"{len(content)} bytes"
        raise InputError(f"{path} is no IDX file of MNIST: expected it to begin with 2051 or 2049, found {found}")
    start = 4 + 4 * _AXES[magic]
    if len(content) < start:
        raise InputError(f"{path} is damaged: expected a header of {start} bytes, found {len(content)}; fetch it again")
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if shape[1:] not in ((), (_SIDE, _SIDE)):
        raise InputError(f"{path} must hold images of {_SIDE} x {_SIDE} pixels, found {shape[1]} x {shape[2]}")
    if len(content) - start != prod(shape):
        raise InputError(
            f"{path} is damaged: expected {prod(shape):,} bytes after the header for {shape[0]:,} "
            f"{'images' if shape[1:] else 'labels'}, found {len(content) - start:,}; fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()
