"""Interfaces between the levels of a model while it is measured: opened for the truth, copied for the estimator."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy

from torch import nn

from sgrnn.cores import HierarchicalCore
from sgrnn.synthesizers.interface import Interface


@contextmanager
def real_gradients(model: nn.Module) -> Iterator[None]:
    """Inside this context the real gradient passes between levels, past all interfaces."""
    with _replaced(model, lambda interface: None):
        yield


@contextmanager
def copied_interfaces(model: nn.Module) -> Iterator[None]:
    """Inside this context interfaces predict as they do, and what learns is a copy of them.

    Each process that measures has all rows before it: nothing is summed over processes.
    """

    def copied(interface: Interface) -> Interface:
        copy = deepcopy(interface)
        copy.predictor.all_reduce = None
        return copy

    with _replaced(model, copied):
        yield


@contextmanager
def _replaced(model: nn.Module, by: Callable[[Interface], Interface | None]) -> Iterator[None]:
    cores = [module for module in model.modules() if isinstance(module, HierarchicalCore)]
    kept = [core.interfaces for core in cores]
    for core in cores:
        core.interfaces = [None if interface is None else by(interface) for interface in core.interfaces]
    try:
        yield
    finally:
        for core, interfaces in zip(cores, kept, strict=True):
            core.interfaces = interfaces
