"""The adding problem (Hochreiter & Schmidhuber 1997), with a lag that is set."""

from typing import final

import torch
from torch import Tensor

from sgrnn.errors import at_least
from sgrnn.tasks.scores import squared_error
from sgrnn.tasks.task import Task


@final
class Adding(Task):
    """Read a number at every step, and give at the last the sum of the two that were marked.

    Numbers are uniform in [0, 1). The first mark is at a step that each row draws anew from all that leave room for
    the second, `lag` steps later. The loss is the squared error at the last step; always answering 1 costs 1/6.

    Inputs are the number and the mark, 0 or 1; the output is the sum.

    >>> task = Adding(lag=3, batch_size=2)
    >>> episode = task.draw()
    >>> numbers, marks = episode.inputs.unbind(dim=-1)
    >>> marks.shape, marks.sum(dim=0).tolist()
    (torch.Size([6, 2]), [2.0, 2.0])
    >>> torch.equal((numbers * marks).sum(dim=0), episode.targets[-1, :, 0])
    True

    Args:
        lag: steps from the first mark to the second.
        batch_size: B, the number of rows.
        steps: S, more than the lag; None for twice the lag, so that one mark falls into each half.
        seed: of the episodes.
    """

    loss = staticmethod(squared_error)

    def __init__(self, lag: int, batch_size: int, *, steps: int | None = None, seed: int = 0) -> None:
        self.lag = at_least("lag", lag, 1)
        self._steps = 2 * lag if steps is None else steps
        if self._steps <= lag:
            raise ValueError(f"steps must be more than the lag, {lag}, got {steps}")
        super().__init__(2, 1, batch_size, seed, lag=lag, steps=self._steps)

    @property
    def steps(self) -> int:
        """S, the number of steps."""
        return self._steps

    def _draw(self) -> tuple[Tensor, Tensor]:
        numbers = torch.rand(self.steps, self.batch_size, generator=self._generator)
        first = torch.randint(0, self.steps - self.lag, (1, self.batch_size), generator=self._generator)
        marks = torch.zeros_like(numbers).scatter_(0, torch.cat([first, first + self.lag]), 1.0)
        targets = torch.zeros(self.steps, self.batch_size, 2)
        targets[-1, :, 0] = (numbers * marks).sum(dim=0)
        targets[-1, :, 1] = 1
        return torch.stack([numbers, marks], dim=-1), targets
