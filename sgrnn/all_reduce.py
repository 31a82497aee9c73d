"""Means and rows of a batch that several processes share, by one function that sums over the processes.

`AllReduce` sums a tensor over the processes, and every process calls it in the same places. Whatever is a mean over
rows, a running scale or the state that one row hands on to the next can be made of it; nothing here knows
``torch.distributed``.
"""

from collections.abc import Callable

from torch import Tensor

from sgrnn.state import State, map_state

AllReduce = Callable[[Tensor], Tensor]  # of the same shape on all processes -> their sum, the same to the bit on all


def column_means(sums: Tensor, all_reduce: AllReduce | None) -> Tensor:
    """Return the mean of every column over the rows of all processes, from this one's sums and, last, its rows."""
    sums = sums if all_reduce is None else all_reduce(sums)
    return sums[:-1] / sums[-1]


def gather_rows(state: State, rank: int, world_size: int, all_reduce: AllReduce | None) -> State:
    """Return the rows of all processes, in order of rank, on each of them.

    Args:
        state: as many rows as every other process has.
        rank: the number of this process, from 0.
        world_size: number of processes.
        all_reduce: sums over the processes; None for one process.
    """

    def gather(tensor: Tensor) -> Tensor:
        if all_reduce is None:
            return tensor
        rows = tensor.shape[-2]
        padded = tensor.new_zeros(*tensor.shape[:-2], world_size * rows, tensor.shape[-1])
        padded[..., rank * rows : (rank + 1) * rows, :] = tensor
        return all_reduce(padded)

    return map_state(gather, state)
