"""Contexts in which a model is measured: unchanged, past its interfaces or with copies, and its gradients put back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.graph import leaf_of, nodes_behind
from sgrnn.cores import HierarchicalCore
from sgrnn.cores.regularization import without_regularization
from sgrnn.estimators.objective import Loss, mean_loss
from sgrnn.estimators.unroll import run
from sgrnn.span import Span
from sgrnn.state import State
from sgrnn.synthesizers.interface import Interface


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Run a model without its regularization inside this context, and leave it and the random generators unchanged."""
    with without_regularization(model), kept_buffers(model), torch.random.fork_rng():
        yield


@contextmanager
def real_gradients(model: nn.Module) -> Iterator[None]:
    """Bypass the interfaces between the model's levels inside this context, so that the real gradient passes."""
    with _replaced(model, lambda interface: None):
        yield


@contextmanager
def copied_interfaces(model: nn.Module) -> Iterator[None]:
    """Replace the model's interfaces by copies, which predict and learn in their place, inside this context.

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


@contextmanager
def gradients_kept(model: nn.Module, loss: Loss, span: Span, state: State) -> Iterator[None]:
    """Restore, after this context, the `grad` of every leaf that a backward pass through model and loss reaches.

    Also those that are no parameters of the model, such as an output layer that the loss alone knows of. Inside, they
    begin without a gradient.

    Args:
        model, loss, state: as `GradientEstimator.backward` takes them.
        span: one of those that are gone through; the loss of any other reaches the same leaves.
    """
    leaves = {id(leaf): leaf for leaf in [*model.parameters(), *_reached(model, loss, span, state)]}
    kept = [(leaf, leaf.grad) for leaf in leaves.values()]
    for leaf, _ in kept:
        leaf.grad = None
    try:
        yield
    finally:
        for leaf, gradient in kept:
            leaf.grad = gradient


def _reached(model: nn.Module, loss: Loss, span: Span, state: State) -> list[Tensor]:
    with torch.enable_grad():
        return leaves_of(mean_loss(loss, run(model, span.inputs, state, span.is_first)[0], span))


def leaves_of(tensor: Tensor) -> list[Tensor]:
    """Return the leaves at which a backward pass from a tensor leaves a gradient.

    >>> weight = torch.ones(2, requires_grad=True)
    >>> leaves_of((weight * 3).sum())
    [tensor([1., 1.], requires_grad=True)]
    """
    found = map(leaf_of, nodes_behind([tensor]))
    return list({id(leaf): leaf for leaf in found if leaf is not None}.values())
