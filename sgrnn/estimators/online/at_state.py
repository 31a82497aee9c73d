"""The gradient of a step's loss at the state after the step, where the outputs are computed from that state."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.contract.graph import leaf_of, nodes_behind
from sgrnn.cores.stacked import StackedCore
from sgrnn.state import State, floating_leaves, to_matrix


def gradient_at_state(outputs: State, after: State, before: State, output_gradients: list[Tensor]) -> Tensor | None:
    """Carry the output gradient of a step back to the state after it, and no further.

    Args:
        outputs, after: of one step, attached to its graph.
        before: the state that the step saw, leaves of the graph.
        output_gradients: the gradient at each floating-point tensor of the outputs.

    Returns:
        (B, N); None where the outputs depend on the state before the step by other ways than through the tensors of the
        state after it, as they do where these are copies.
    """
    state = floating_leaves(after)
    attached = [tensor for tensor in state if tensor.requires_grad]
    roots = [(tensor, gradient) for tensor, gradient in zip(floating_leaves(outputs), output_gradients, strict=True)
             if tensor.requires_grad]  # fmt: skip
    own = {id(tensor) for tensor in floating_leaves(before)}
    if any(id(leaf_of(node)) in own for node in nodes_behind((root for root, _ in roots), past=attached)):
        return None
    arrived = {id(tensor): torch.zeros_like(tensor) for tensor in state}

    def keep(tensor: Tensor, gradient: Tensor) -> Tensor:
        arrived[id(tensor)] += gradient
        return torch.zeros_like(gradient)  # a cell from which the hidden state was computed gets its own share alone

    handles = [
        tensor.register_hook(lambda gradient, tensor=tensor: keep(tensor, gradient))
        for tensor in {id(tensor): tensor for tensor in attached}.values()
    ]
    if roots and attached:
        tensors, gradients = zip(*roots, strict=True)
        torch.autograd.grad(tensors, attached, gradients, allow_unused=True)
    for handle in handles:
        handle.remove()
    # A tensor that stands twice in the state has its gradient at one of its places.
    return to_matrix([arrived.pop(id(tensor), torch.zeros_like(tensor)) for tensor in state])


@contextmanager
def outputs_from_state(model: nn.Module) -> Iterator[None]:
    """Make recurrent layers return as the outputs of a single step a view of the state they return, in this context.

    Layers are this package's and torch's. Otherwise outputs and state are copies of the same numbers, and no gradient
    goes from the one to the other.
    """

    def wrapped(module: nn.Module) -> nn.Module:
        forward = module.forward

        def from_state(*arguments: Any, **options: Any) -> tuple[Tensor, State]:
            outputs, after = forward(*arguments, **options)
            hidden = after[0] if isinstance(after, tuple) else after
            return hidden[-1:] if outputs.shape[0] == 1 else outputs, after

        vars(module)["forward"] = from_state  # an attribute of the instance goes before the method of its class
        return module

    kinds = (torch.nn.LSTM.forward, torch.nn.GRU.forward, torch.nn.RNN.forward, StackedCore.forward)
    changed = [
        wrapped(module)
        for module in model.modules()
        if type(module).forward in kinds and "forward" not in vars(module)  # one with a forward of its own keeps it
    ]
    try:
        yield
    finally:
        for module in changed:
            del vars(module)["forward"]
