"""The graph behind tensors, as autograd has recorded it."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor


def nodes_behind(tensors: Iterable[Tensor], past: Iterable[Tensor] = ()) -> Iterator[Any]:
    """Yield the nodes that lead to some tensors, but none behind the tensors `past`; `leaf_of` has their leaves."""
    seen = {(tensor.grad_fn, tensor.output_nr) for tensor in past}
    todo = [(tensor.grad_fn, tensor.output_nr) for tensor in tensors]
    while todo:
        edge = todo.pop()
        if edge[0] is not None and edge not in seen:
            seen.add(edge)
            yield edge[0]
            todo += getattr(edge[0], "next_functions", ())


def leaf_of(node: Any) -> Tensor | None:
    """Return the leaf whose gradient a node accumulates; None for any other node."""
    return getattr(node, "variable", None)
