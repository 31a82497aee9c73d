"""Threads that a run computes with on a CPU: few products are done before a second thread has woken up."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from sgrnn.config.recipe import Recipe
from sgrnn.training.distributed import ALONE, Ranks

SMALL = 20_000_000
"""Largest number of multiply-adds in a process's forward step for which one thread is used."""


@contextmanager
def threads_for(recipe: Recipe, build: Callable[[], nn.Module], ranks: Ranks = ALONE) -> Iterator[int]:
    """Set torch's number of threads to one that fits a run inside this context, and restore it afterwards.

    `training.threads` says how many, where it does; else the environment variable OMP_NUM_THREADS, where it is set;
    else `suitable_threads`. So it is a function of the recipe, the environment, the machine and the number of
    processes, and a run that is resumed where it began rounds as it did.

    Args:
        recipe: of the run.
        build: makes its model, of which only the shapes are asked.
        ranks: the processes that train it together.

    Yields:
        How many threads they are.
    """
    available = torch.get_num_threads()
    if recipe.training.threads is not None:
        threads = recipe.training.threads
    elif os.environ.get("OMP_NUM_THREADS"):
        threads = available
    else:
        with torch.device("meta"):
            model = build()
        rows = max(1, recipe.training.batch_size // ranks.world_size)
        threads = suitable_threads(rows * products(model), available, ranks.local_world_size)
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(available)


def suitable_threads(products: int, available: int, processes: int = 1) -> int:
    """Return one thread for a small model; for another all there are, shared out among the machine's processes.

    docs/performance.md has the measurements.

    Args:
        products: multiply-adds of a step, forwards, of all rows of a process.
        available: threads that torch takes by itself.
        processes: that train on the machine together.

    >>> suitable_threads(1_000_000, available=8), suitable_threads(100_000_000, available=8, processes=2)
    (1, 4)
    """
    return 1 if products <= SMALL else max(1, available // processes)


def products(model: nn.Module) -> int:
    """Return the multiply-adds of one row's forward step: the number of weights in matrices that are multiplied by.

    >>> products(nn.LSTM(8, 16))
    1536
    """
    looked_up = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    multiplied = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    return sum(
        parameter.numel()
        for parameter in model.parameters()
        if parameter.dim() > 1 and id(parameter) not in looked_up - multiplied
    )
