"""Dropout whose masks are drawn once a span, for all its steps and windows, however often and in which order they run.

A mask is a function of its place in the model and of one number, which is drawn when the span begins. So it does not
matter whether windows run one after another, as one batch or a second time, nor which module is asked first, nor where
the random generators stand by then.
"""

import random
from abc import ABC
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn


class SpanDropout(nn.Module, ABC):
    """Dropout that draws one mask for a whole span (`one_span`), and outside of one a mask for each call.

    Args:
        p: probability of zeroing, in [0, 1).
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        self.p = dropout_rate(p)
        self.masks: _Masks | None = None

    @property
    def drops(self) -> bool:
        """True in training, unless nothing would be dropped."""
        return self.training and self.p > 0

    def mask(self, shape: tuple[int, ...], like: Tensor, place: int = 0) -> Tensor:
        """Return the mask of a span, or a new one: zeros, and 1 / (1 - p) for what is kept.

        Args:
            shape: of the mask.
            like: a tensor of its precision and device.
            place: where the module drops out, if it does so in several places, each with a mask of its own.

        Raises:
            ValueError: the place has a mask of another shape in the same span.
        """
        return dropout_mask(shape, self.p, like) if self.masks is None else self.masks.of(self, place, shape, like)

    def extra_repr(self) -> str:
        return f"p={self.p}"


@final
class LockedDropout(SpanDropout):
    """Dropout with the same mask at all steps of a span, for each row its own (Gal & Ghahramani 2016).

    A row that begins anew inside a span keeps its mask. Outside of an estimator's backward pass a call is a span.

    Args:
        p: probability of zeroing a feature of a row, in [0, 1).

    >>> inputs = torch.ones(3, 2, 4)
    >>> outputs = LockedDropout(0.5)(inputs)
    >>> torch.equal(outputs[0], outputs[2])
    True
    """

    def forward(self, inputs: Tensor, place: int = 0) -> Tensor:
        """Drop features of inputs (time, rows, features).

        Args:
            inputs: of the rows of a span, or of several of its windows, one below the other.
            place: as `mask`.
        """
        if not self.drops:
            return inputs
        rows, features = inputs.shape[-2:]
        if self.masks is None or rows % self.masks.rows:  # other rows than the span's are tried out alone
            return inputs * dropout_mask((rows, features), self.p, inputs)
        mask = self.mask((self.masks.rows, features), inputs, place)
        windows = rows // self.masks.rows
        return inputs * (mask if windows == 1 else mask.repeat(windows, 1))


@final
class WordDropout(SpanDropout):
    """Dropout of whole words, the same at all steps of a span (Gal & Ghahramani 2016).

    A word that is dropped is read as a vector of zeros wherever it stands; the others are scaled by 1 / (1 - p).

    Args:
        p: probability of dropping a word of the vocabulary, in [0, 1).
    """

    def forward(self, inputs: Tensor, tokens: Tensor, words: int) -> Tensor:
        """Drop the vectors of words.

        Args:
            inputs: (time, rows, features) the vectors.
            tokens: (time, rows) the words that they stand for.
            words: in the vocabulary.
        """
        return inputs * self.mask((words,), inputs)[tokens].unsqueeze(-1) if self.drops else inputs


@final
class WeightDropout(SpanDropout):
    """Dropout of weights, the same at all steps of a span: DropConnect (Wan et al. 2013; Merity et al. 2017).

    Args:
        p: probability of zeroing a weight, in [0, 1).
    """

    def forward(self, inputs: Tensor, place: int = 0) -> Tensor:
        """Drop elements of a weight, which has the gradient of what was kept.

        Args:
            inputs: the weight, of any shape.
            place: as `mask`.
        """
        return inputs * self.mask(tuple(inputs.shape), inputs, place) if self.drops else inputs


@contextmanager
def one_span(model: nn.Module, rows: int) -> Iterator[None]:
    """Let all that a model does inside this context belong to one span: each `SpanDropout` of it has one mask there.

    Args:
        model: any module; where none of it drops out in this way, nothing is drawn.
        rows: of the span.
    """
    modules = [module for module in model.modules() if isinstance(module, SpanDropout) and module.drops]
    masks = _Masks(rows, modules) if modules else None
    for module in modules:
        module.masks = masks
    try:
        yield
    finally:
        for module in modules:
            module.masks = None


@final
class _Masks:
    """The masks of a span, each drawn when it is first asked for."""

    def __init__(self, rows: int, modules: Sequence[SpanDropout]) -> None:
        self.rows = rows
        self._seed = int(torch.randint(2**62, ()))
        self._numbers = {module: number for number, module in enumerate(modules)}
        self._held: dict[tuple[SpanDropout, int], Tensor] = {}

    def of(self, module: SpanDropout, place: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
        if (module, place) not in self._held:
            # Seeded for each: windows that run one by one ask the modules in another order than the whole span.
            drawn = random.Random(f"{self._seed} {self._numbers[module]} {place}")
            generator = torch.Generator(like.device).manual_seed(drawn.getrandbits(62))
            self._held[module, place] = dropout_mask(shape, module.p, like, generator)
        mask = self._held[module, place]
        if mask.shape != torch.Size(shape):
            raise ValueError(
                f"{module} is used in two places, with masks of {tuple(mask.shape)} and {shape}: give each a module "
                "or a place, a number, of its own"
            )
        return mask


def dropout_rate(p: float, name: str = "dropout") -> float:
    """Return a probability of dropping out.

    Args:
        p: the probability.
        name: under which it is refused.

    Raises:
        ValueError: it is not in [0, 1).
    """
    if not 0 <= p < 1:
        raise ValueError(f"{name} must be in [0, 1), got {p}")
    return p


def dropout_mask(shape: tuple[int, ...], p: float, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return a new mask: 0 with probability p, and else 1 / (1 - p).

    Uniform numbers are compared, in the place of ``bernoulli_``, which takes four times as long on processors of other
    makers than Intel; in float32, since fewer bits have too few steps for a probability.

    Args:
        shape: of the mask.
        p: probability of zeroing, in [0, 1).
        like: a tensor of its precision and device.
        generator: of the numbers; None for torch's.
    """
    drawn = torch.rand(shape, dtype=torch.float32, device=like.device, generator=generator)
    return (drawn < 1 - p).to(like.dtype).div_(1 - p)
