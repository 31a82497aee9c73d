"""A batch whose rows several processes share: what a library class has to know of the others is one function.

`AllReduce` sums a tensor over the processes, and every process calls it in the same places. Whatever is a mean over
rows, a running scale or the state that one row hands on to the next can be made of it; nothing here knows
``torch.distributed``.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from sgrnn.state import State, map_state

AllReduce = Callable[[Tensor], Tensor]  # of the same shape on all processes -> their sum, the same to the bit on all


def mean(values: Tensor, total: AllReduce | None) -> Tensor:
    """The mean of all entries, those that the other processes hold included."""
    if total is None:
        return values.mean()
    sums = total(torch.stack([values.sum(), values.new_full((), values.numel())]))
    return sums[0] / sums[1]


def gather_rows(state: State, part: int, parts: int, total: AllReduce | None) -> State:
    """The rows of all processes, in order, on each of them.

    Args:
        state: as many rows as every other process has.
        part: the number of this process, from 0.
        parts: how many there are.
        total: their sum; None for one process.
    """

    def gather(tensor: Tensor) -> Tensor:
        if total is None:
            return tensor
        rows = tensor.shape[-2]
        padded = tensor.new_zeros(*tensor.shape[:-2], parts * rows, tensor.shape[-1])
        padded[..., part * rows : (part + 1) * rows, :] = tensor
        return total(padded)

    return map_state(gather, state)
