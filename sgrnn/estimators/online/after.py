"""The gradient of a step's loss at the state after the step, where the outputs are computed from that state."""

import torch
from torch import Tensor

from sgrnn.state import State, floating_leaves, to_matrix


def gradient_at_state(outputs: State, after: State, before: State, errors: list[Tensor]) -> Tensor | None:
    """Carry the gradient at the outputs back to the state after the step, and no further.

    Args:
        outputs, after: of one step, attached to its graph.
        before: the state that the step saw, leaves of the graph.
        errors: the gradient at each floating-point tensor of the outputs.

    Returns:
        (B, N); None where the outputs depend on the state before the step by other ways than through the tensors of the
        state after it, as they do where these are copies.
    """
    is_last = [tensor for tensor in floating_leaves(after) if tensor.requires_grad]
    roots = [(tensor, error) for tensor, error in zip(floating_leaves(outputs), errors, strict=True)
             if tensor.requires_grad]  # fmt: skip
    if _reaches([root for root, _ in roots], floating_leaves(before), past=is_last):
        return None
    found = {id(tensor): torch.zeros_like(tensor) for tensor in floating_leaves(after)}

    def kept(tensor: Tensor, gradient: Tensor) -> Tensor:
        found[id(tensor)] += gradient
        return torch.zeros_like(gradient)  # a cell from which the hidden state was computed gets its own share alone

    handles = [
        tensor.register_hook(lambda gradient, tensor=tensor: kept(tensor, gradient))
        for tensor in {id(tensor): tensor for tensor in is_last}.values()
    ]
    if roots and is_last:
        tensors, gradients = zip(*roots, strict=True)
        torch.autograd.grad(tensors, is_last, gradients, allow_unused=True)
    for handle in handles:
        handle.remove()
    return to_matrix([found[id(tensor)] for tensor in floating_leaves(after)])


def _reaches(roots: list[Tensor], leaves: list[Tensor], past: list[Tensor]) -> bool:
    """Whether the graph leads from any of the roots to any of the leaves by a way around the tensors `past`."""
    stops = {(tensor.grad_fn, tensor.output_nr) for tensor in past}
    targets = {id(leaf) for leaf in leaves}
    todo = [(tensor.grad_fn, tensor.output_nr) for tensor in roots]
    seen = set(stops)
    while todo:
        edge = todo.pop()
        node = edge[0]
        if node is None or edge in seen:
            continue
        seen.add(edge)
        if id(getattr(node, "variable", None)) in targets:  # of the node that accumulates a leaf's gradient
            return True
        todo += node.next_functions
    return False
