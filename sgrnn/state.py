"""States: the tensors, or nests of tensors, that a recurrent core carries from step to step.

A state is a tensor or a tuple, list, dict or named tuple of states. In every tensor the batch is the axis before
the last: (..., batch, features), as in the (layers, batch, hidden) of ``torch.nn.LSTM`` and the (batch, hidden)
of a single cell. Floating-point tensors carry gradients; others (counters, phases) are carried along.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

State = Any
"""A tensor, or a tuple, list, dict or named tuple of states."""


def map_state(function: Callable[..., Any], *states: State) -> State:
    """Apply a function to the corresponding tensors of one or more states of the same structure.

    Raises:
        TypeError: a leaf is not a tensor.

    >>> map_state(lambda a, b: a + b, (torch.tensor(1), torch.tensor(2)), (torch.tensor(3), torch.tensor(4)))
    (tensor(4), tensor(6))
    """
    first = states[0]
    if isinstance(first, Tensor):
        return function(*states)
    if isinstance(first, dict):
        return rebuilt(first, [map_state(function, *(state[key] for state in states)) for key in first])
    if isinstance(first, tuple | list):
        return rebuilt(first, [map_state(function, *group) for group in zip(*states, strict=True)])
    raise _no_state(first)


def rebuilt(nest: Any, parts: Sequence[Any]) -> Any:
    """Return other parts in a tuple, list, dict or named tuple like another, of its class, keys and order."""
    if type(nest) is dict:
        return dict(zip(nest, parts, strict=True))
    if isinstance(nest, dict):  # of a class of its own, which may want more than its items to be made
        like = copy(nest)
        for key, part in zip(nest, parts, strict=True):
            like[key] = part
        return like
    return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)


def parts_of(nest: Any) -> Iterable[Any]:
    """Return the parts of a tuple, list or dict, in its order."""
    return nest.values() if isinstance(nest, dict) else nest


def sorted_leaves(nest: Any) -> list[Tensor]:
    """Return a nest's tensors, those of its dicts by their keys, in whatever order these were put together.

    >>> sorted_leaves({"b": torch.tensor(1), "a": torch.tensor(2)})
    [tensor(2), tensor(1)]
    """
    if isinstance(nest, dict):
        return [tensor for key in sorted(nest, key=str) for tensor in sorted_leaves(nest[key])]
    return [nest] if isinstance(nest, Tensor) else [tensor for part in nest for tensor in sorted_leaves(part)]


def filled(like: Any, tensors: Iterator[Tensor]) -> Any:
    """Undo `sorted_leaves`: return a nest like another, of other tensors."""
    if isinstance(like, Tensor):
        return next(tensors)
    if isinstance(like, dict):
        parts = {key: filled(like[key], tensors) for key in sorted(like, key=str)}
        return rebuilt(like, [parts[key] for key in like])
    return rebuilt(like, [filled(part, tensors) for part in like])


def refilled(like: State, tensors: Iterable[Tensor]) -> State:
    """Undo `leaves`: return a state like another, of other tensors."""
    following = iter(tensors)
    return map_state(lambda _: next(following), like)


def _no_state(found: Any) -> TypeError:
    return TypeError(f"states and outputs are tensors, or tuples, lists or dicts of them, got {type(found).__name__}")


def leaves(state: State) -> list[Tensor]:
    """Return the state's tensors, in order."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, dict | tuple | list):
        return [tensor for part in parts_of(state) for tensor in ([part] if isinstance(part, Tensor) else leaves(part))]
    raise _no_state(state)


def floating_leaves(state: State) -> list[Tensor]:
    """Return the state's tensors that carry gradients, in order."""
    return [tensor for tensor in leaves(state) if tensor.is_floating_point()]


def batch_size(state: State) -> int:
    """Count the rows that a state holds."""
    return leaves(state)[0].shape[-2]


def at_least_float32(tensor: Tensor) -> Tensor:
    """Widen half precision, in which sums of squares overflow and small means vanish; leave all else as it is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Switch autocast off inside this context, where it is on."""
    if not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def moved(saved: Any, device: torch.device) -> Any:
    """Return what was saved, any nest of dicts, lists and tuples, with its tensors on a device."""
    if isinstance(saved, Tensor):
        return saved.to(device)
    if isinstance(saved, dict | tuple | list):
        return rebuilt(saved, [moved(part, device) for part in parts_of(saved)])
    return saved


def detach(state: State) -> State:
    """Return the state cut off from the graph that computed it."""
    return map_state(Tensor.detach, state)


def cut(state: State) -> State:
    """Return the state with its tensors as leaves of a new graph, to whose ``.grad`` a backward pass adds."""
    return map_state(
        lambda tensor: tensor.detach().requires_grad_(tensor.is_floating_point() or tensor.is_complex()), state
    )


def where_rows(rows: Tensor, chosen: State, otherwise: State) -> State:
    """Take the rows marked True (batch,) from one state and the others from another, whose order of keys it keeps."""
    return map_state(lambda b, a: torch.where(rows.unsqueeze(-1), a, b), otherwise, chosen)


def concatenate(states: Sequence[State]) -> State:
    """Return one state with the rows of all, in order."""
    if len(states) == 1:
        return states[0]
    return map_state(lambda *tensors: torch.cat(tensors, dim=-2), *states)


def rows(state: State, start: int, stop: int | None) -> State:
    """Return the rows from start up to stop, counted as Python slices count."""
    return map_state(lambda tensor: tensor[..., start:stop, :], state)


def take_rows(state: State, chosen: Tensor | None) -> State:
    """Return the rows at these indices (n,); with None, or a mask (batch,), all rows."""
    if chosen is None or chosen.dtype == torch.bool:
        return state
    return map_state(lambda tensor: tensor.index_select(-2, chosen), state)


def put_rows(state: State, chosen: Tensor | None, taken: State) -> State:
    """Put rows that `take_rows` took back into a state, at the same indices or where the same mask is True."""
    if chosen is None:
        return taken
    if chosen.dtype == torch.bool:
        return where_rows(chosen, taken, state)
    return map_state(lambda old, new: old.index_copy(-2, chosen, new), state, taken)


def to_matrix(state: State) -> Tensor:
    """Return the floating-point tensors of a state as one (batch, features) matrix."""
    return join([_rows_first(tensor) for tensor in floating_leaves(state)])


def _rows_first(tensor: Tensor) -> Tensor:
    """Return a tensor (..., batch, features) as (batch, ...), in one call where there is one vector a row."""
    one = tensor.numel() == tensor.shape[-2] * tensor.shape[-1]
    return tensor.view(tensor.shape[-2:]) if one else tensor.movedim(-2, 0)


def _rows_back(part: Tensor, like: Tensor) -> Tensor:
    """Undo `_rows_first`: return a part (batch, ...) of a matrix as (..., batch, features)."""
    (rows, size), (*outer, _, features) = part.shape, like.shape
    return part.view(*outer, rows, features) if size == features else part.view(rows, *outer, features).movedim(0, -2)


def join(tensors: Iterable[Tensor]) -> Tensor:
    """Join tensors (batch, ...) side by side into one (batch, features) matrix."""
    flat = [tensor if tensor.dim() == 2 else tensor.flatten(1) for tensor in tensors]
    return torch.cat(flat, dim=1)


def from_matrix(matrix: Tensor, like: State) -> list[Tensor]:
    """Undo `to_matrix`: split a (batch, features) matrix into tensors shaped like a state's floating-point leaves."""
    tensors = floating_leaves(like)
    parts = matrix.split([tensor.numel() // tensor.shape[-2] for tensor in tensors], dim=1)
    return [_rows_back(part, tensor) for part, tensor in zip(parts, tensors, strict=True)]


def state_size(state: State) -> int:
    """Count the features that a row of the state has, over all its floating-point tensors."""
    return sum(tensor.numel() // tensor.shape[-2] for tensor in floating_leaves(state))


def trailing_size(state: State, width: int) -> int:
    """Count the features of a row in the last floating-point tensors that all are vectors of this width."""
    vectors = takewhile(lambda tensor: tensor.shape[-1] == width, reversed(floating_leaves(state)))
    return sum(tensor.numel() // tensor.shape[-2] for tensor in vectors)
