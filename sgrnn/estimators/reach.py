"""Refusing models in which an injected gradient arrives at nothing that learns."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from sgrnn.contract.graph import leaf_of, nodes_behind
from sgrnn.estimators.unroll import Windows
from sgrnn.state import State, floating_leaves, to_matrix

_REMEDY = (
    "a gradient injected into the model's last state reaches none of its parameters: the model must hand the state "
    "back attached to its graph (no detach(), no no_grad(), no torch.utils.checkpoint with use_reentrant=True around a "
    "nested state), carry a floating-point state, and learn"
)


def require_reach(model: nn.Module, initial_states: Sequence[State], final_states: Sequence[State]) -> None:
    """Refuse a model whose last states do not lead back to its parameters.

    What is injected there would go nowhere, and synthetic gradients be plain truncation, whatever the metrics show.

    Args:
        model: that ran; one without parameters has nothing to be reached.
        initial_states, final_states: the states before and after each of its calls.

    Raises:
        ValueError: it does not.
    """
    attached = [[tensor for tensor in floating_leaves(last) if tensor.requires_grad] for last in final_states]
    if next(model.parameters(), None) is None:
        return
    if not any(_leads_on(last, first) for last, first in zip(attached, initial_states, strict=True)):
        raise ValueError(_REMEDY)


def require_attached(model: nn.Module, final_states: Sequence[State]) -> None:
    """Refuse a model that cuts its own state off, so that nothing can be carried through it in either direction.

    Raises:
        ValueError: none of its last states has a graph.
    """
    attached = any(tensor.requires_grad for last in final_states for tensor in floating_leaves(last))
    if not attached and any(parameter.requires_grad for parameter in model.parameters()):
        require_graph()
        raise ValueError(_REMEDY)


def require_graph(called: str = "backward") -> None:
    """Refuse to go backwards where no graph is recorded.

    Args:
        called: the method that is called there.

    Raises:
        ValueError: gradients are off.
    """
    if not torch.is_grad_enabled():
        raise ValueError(f"no graph is recorded: call {called} outside of torch.no_grad() and inference_mode()")


def injectable(windows: Windows) -> Tensor | None:
    """Return 1 where a window's last state has a graph, 0 where the model cut it, (K x B, features); None for all 1."""
    if all(tensor.requires_grad for last in windows.final_states for tensor in floating_leaves(last)):
        return None
    return torch.cat(
        [
            to_matrix([torch.full_like(tensor, float(tensor.requires_grad)) for tensor in floating_leaves(last)])
            for last in windows.final_states
        ]
    )


def _leads_on(last: list[Tensor], first: State) -> bool:
    """True where the graph behind some tensors holds a leaf that is none of the window's first state."""
    own = {id(None), *(id(tensor) for tensor in floating_leaves(first))}
    # A function written in Python may hold a graph of its own, as torch.utils.checkpoint does.
    return any(isinstance(node, BackwardCFunction) or id(leaf_of(node)) not in own for node in nodes_behind(last))
