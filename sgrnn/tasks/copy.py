"""The copy tasks of Neural Turing Machines (Graves et al. 2014, section 4), on which synthetic gradients were first
shown to reach beyond the window (Jaderberg et al. 2016, table 1)."""

from typing import final

import torch
from torch import Tensor

from sgrnn.errors import at_least
from sgrnn.tasks.curriculum import CurriculumTask
from sgrnn.tasks.scores import binary_cross_entropy, bits_correct


@final
class Copy(CurriculumTask):
    """Read N random bit vectors between two markers, then give them while reading nothing.

        step     0      1 ... N    N+1    N+2 ... 2N+1
        input    start  v_1...v_N  end    0
        target                            v_1 ... v_N

    An episode has S = 2N + 2 steps; the loss is over its last N. The `length` that is reported is N: table 1 of
    Jaderberg et al. has even and odd lengths for it, which no length of 2N + constant could have.

    The curriculum raises N by one.

    Inputs are the `bits` of a vector, the start marker, the end marker; outputs are log-odds of `bits` bits.

    >>> task = Copy(batch_size=3, bits=2, vectors=4)
    >>> episode = task.draw()
    >>> episode.inputs.shape, episode.targets.shape, task.length
    (torch.Size([10, 3, 4]), torch.Size([10, 3, 3]), 4)
    >>> torch.equal(episode.inputs[1:5, :, :2], episode.targets[6:, :, :2])
    True

    Args:
        batch_size: B, the number of rows.
        bits: width of a vector.
        vectors: N to begin with.
        threshold: loss in bits per output bit under which N is raised.
        seed: of the episodes.
    """

    loss = staticmethod(binary_cross_entropy)
    correct = staticmethod(bits_correct)

    def __init__(
        self, batch_size: int, *, bits: int = 8, vectors: int = 1, threshold: float = 0.15, seed: int = 0
    ) -> None:
        self.bits = at_least("bits", bits, 1)
        super().__init__(bits + 2, bits, batch_size, seed, vectors=vectors, repeats=1, threshold=threshold, bits=bits)

    @property
    def length(self) -> int:
        """N, the number of vectors of the next episode."""
        return self.vectors

    @property
    def steps(self) -> int:
        """S = 2N + 2, the steps of the next episode."""
        return 2 * self.vectors + 2

    def advance(self) -> None:
        """Raise N by one."""
        self.vectors += 1

    def _draw(self) -> tuple[Tensor, Tensor]:
        vectors = _random_vectors(self._generator, self.vectors, self.batch_size, self.bits)
        inputs = _read(vectors, self.steps, end=1.0)
        targets = torch.zeros(self.steps, self.batch_size, self.bits + 1)
        first = self.vectors + 2
        targets[first:, :, : self.bits] = vectors
        targets[first:, :, -1] = 1
        return inputs, targets


@final
class RepeatCopy(CurriculumTask):
    """Read N random bit vectors between two markers, then give them R times over and mark the end.

        step     0      1 ... N    N+1      N+2 ... (R+1)N+1         (R+1)N+2
        input    start  v_1...v_N  end, R   0                        0
        target                              v_1...v_N, v_1...v_N, …  end

    An episode has S = (R + 1)N + 3 steps, which is the `length` that is reported; the loss is over its last RN + 1.
    All lengths of Jaderberg et al., table 1, lie on the curriculum, which raises R if R < N, else N, without putting R
    back: (N, R) = (1, 1), (2, 1), (2, 2), (3, 2), ... with lengths 5, 7, 9, 12, ...

    Inputs are the `bits` of a vector, the start marker, and as the end marker R / `repeats_scale` on a channel of its
    own; outputs are log-odds of `bits` bits and of the end. The loss is the mean over all of these, so that the
    channel of the end counts as one bit more, 0 at every step but the last (as in the code of Pemberton & Costa 2024).

    >>> task = RepeatCopy(batch_size=3, bits=2)
    >>> lengths = []
    >>> for _ in range(8):
    ...     lengths.append(task.draw().steps)
    ...     task.advance()
    >>> lengths
    [5, 7, 9, 12, 15, 19, 23, 28]

    Args:
        batch_size: B, the number of rows.
        bits: width of a vector.
        vectors: N to begin with.
        repeats: R to begin with.
        repeats_scale: the number of repeats that is shown as 1; 10 as in the published code of Graves et al. 2016 and
            of Pemberton & Costa 2024.
        threshold: loss in bits per output bit under which the curriculum goes on.
        seed: of the episodes.
    """

    loss = staticmethod(binary_cross_entropy)
    correct = staticmethod(bits_correct)

    def __init__(
        self,
        batch_size: int,
        *,
        bits: int = 8,
        vectors: int = 1,
        repeats: int = 1,
        repeats_scale: int = 10,
        threshold: float = 0.15,
        seed: int = 0,
    ) -> None:
        self.bits, self.repeats_scale = at_least("bits", bits, 1), at_least("repeats_scale", repeats_scale, 1)
        super().__init__(
            bits + 2, bits + 1, batch_size, seed, vectors=vectors, repeats=repeats, threshold=threshold,
            bits=bits, repeats_scale=repeats_scale,
        )  # fmt: skip

    @property
    def length(self) -> int:
        """Steps of the next episode, (R + 1)N + 3, by which results are reported."""
        return self.steps

    @property
    def steps(self) -> int:
        """S = (R + 1)N + 3, the steps of the next episode."""
        return (self.repeats + 1) * self.vectors + 3

    def advance(self) -> None:
        """Raise R if it is less than N, else N."""
        if self.repeats < self.vectors:
            self.repeats += 1
        else:
            self.vectors += 1

    def _draw(self) -> tuple[Tensor, Tensor]:
        vectors = _random_vectors(self._generator, self.vectors, self.batch_size, self.bits)
        inputs = _read(vectors, self.steps, end=self.repeats / self.repeats_scale)
        targets = torch.zeros(self.steps, self.batch_size, self.bits + 2)
        first = self.vectors + 2
        targets[first:-1, :, : self.bits] = vectors.repeat(self.repeats, 1, 1)
        targets[-1, :, self.bits] = 1
        targets[first:, :, -1] = 1
        return inputs, targets


def _random_vectors(generator: torch.Generator, vectors: int, batch_size: int, bits: int) -> Tensor:
    """Draw bit vectors (vectors, batch_size, bits) of 0 and 1."""
    return torch.randint(0, 2, (vectors, batch_size, bits), generator=generator, dtype=torch.float32)


def _read(vectors: Tensor, steps: int, end: float) -> Tensor:
    """Return inputs (steps, B, bits + 2): a start marker, the vectors, an end marker of this value, then zeros."""
    number, batch_size, bits = vectors.shape
    inputs = torch.zeros(steps, batch_size, bits + 2)
    inputs[0, :, bits] = 1
    inputs[1 : number + 1, :, :bits] = vectors
    inputs[number + 1, :, bits + 1] = end
    return inputs
