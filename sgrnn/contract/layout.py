"""The layout of inputs and states: inputs time first, the batch as the axis before the last of a state."""

from collections.abc import Iterable, Iterator
from weakref import WeakSet

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.modules import forked_random, wrapped
from sgrnn.span import Span, Steps, between
from sgrnn.state import State, leaves, map_state

_LAYOUT = "(..., batch, features): the batch is the axis before the last"
# Models that were looked at already: once is enough, and costs nothing later.
_time_first: WeakSet[nn.Module] = WeakSet()
_layout_known: WeakSet[nn.Module] = WeakSet()


def require_layout(model: nn.Module, span: Span, state: State, windows: Iterable[int] = (1,)) -> None:
    """Refuse a state whose number of rows is not the span's, and a model that takes another axis for the batch.

    Args:
        model: ``model(inputs, state) -> (outputs, state)``.
        span: the data.
        state: the state before the span.
        windows: lengths, in steps, of the calls that are to be made.

    Raises:
        TypeError: a core is bidirectional or reads the batch first.
        ValueError: the state holds another number of rows, or holds them along another axis.
    """
    require_rows(state, span.batch_size)
    if model not in _time_first:
        for core in _cores_of(model):
            require_time_first(core)
        _time_first.add(model)
    known = isinstance(model, nn.RNNBase) or _is_ours(model) or model in _layout_known
    if not known and (_begins_inside(span) or _may_be_read_otherwise(span.batch_size, state, windows)):
        _try_one_row_more(model, span, state)
        _layout_known.add(model)


def require_real(state: State) -> None:
    """Refuse a state that holds complex numbers.

    Raises:
        ValueError: it does.
    """
    for tensor in leaves(state):
        if tensor.is_complex():
            raise ValueError(f"state must be real, got {tensor.dtype}: hold real and imaginary parts (view_as_real)")


def require_rows(state: State, expected: int) -> None:
    """Refuse a state of other tensors than real ones whose axis before the last counts so many rows.

    Raises:
        ValueError: it is one.
    """
    require_real(state)
    for tensor in leaves(state):
        if tensor.dim() < 2:
            raise ValueError(f"state must be {_LAYOUT}, got {tuple(tensor.shape)}")
        found = tensor.shape[-2]
        if found != expected:
            rows = "1 row" if found == 1 else f"{found} rows"
            raise ValueError(
                f"state holds {rows}, the span {expected}: state must be {_LAYOUT}, got {tuple(tensor.shape)}"
            )


def require_time_first(core: nn.Module) -> None:
    """Refuse one of torch's recurrent modules that is bidirectional or reads the batch first.

    Raises:
        TypeError: it is bidirectional or reads the batch first.
    """
    if isinstance(core, nn.RNNBase) and core.bidirectional:
        raise TypeError("a core reads forwards only: bidirectional must be False")
    if isinstance(core, nn.RNNBase) and core.batch_first:
        raise TypeError("a core reads time first: hand over sgrnn.AdaptedCore(core, batch_first=True)")


def _cores_of(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the module, the modules inside torch's wrappers, and the cores of this package's models."""
    yield model
    ours = _is_ours(model)
    part = getattr(model, "core", None) if ours else wrapped(model)
    if isinstance(part, nn.Module):
        yield from _cores_of(part)
    levels = getattr(model, "levels", None) if ours else None
    if isinstance(levels, nn.ModuleList):
        for level in levels:
            yield from _cores_of(level)


def _is_ours(model: nn.Module) -> bool:
    return any(kind.__module__.startswith("sgrnn.") for kind in type(model).__mro__)


def _begins_inside(span: Span) -> bool:
    """True where calls are cut, to any length, since sequences begin after a span's first step."""
    return span.is_first is not None and bool(span.is_first[1:].any())


def _may_be_read_otherwise(rows: int, state: State, windows: Iterable[int]) -> bool:
    """True where the shapes of state and calls leave open which axis is the batch."""
    return rows in windows or any(rows in (*tensor.shape[:-2], tensor.shape[-1]) for tensor in leaves(state))


def _try_one_row_more(model: nn.Module, span: Span, state: State) -> None:
    """Detect another layout by a call with one row more, in that of the contract and, if that fails, in others.

    Where none works nothing is known, and nothing refused: the model may be made for so many rows and no others.

    Raises:
        ValueError: another layout is the one that works.
    """
    inputs = between(span.inputs, 0, 3)
    more = map_state(lambda tensor: _one_more(tensor, -2), state)
    one_row_more = map_state(lambda steps: _one_more(steps, 1), inputs)
    if _works(model, one_row_more, more):
        return
    if _works(model, map_state(lambda steps: _one_more(steps.transpose(0, 1), 0), inputs), more):
        raise ValueError(
            "model must read inputs (time, batch, ...); this one takes the first axis for the batch (batch_first): "
            "hand over sgrnn.AdaptedCore(model, batch_first=True)"
        )
    tensors = leaves(state)
    for axis in range(min((tensor.dim() for tensor in tensors), default=0)):
        if any(axis == tensor.dim() - 2 or tensor.shape[axis] != span.batch_size for tensor in tensors):
            continue
        if _works(model, one_row_more, map_state(lambda tensor, axis=axis: _one_more(tensor, axis), state)):
            raise ValueError(
                f"state must be {_LAYOUT}; this model has it at axis {axis} of {tuple(tensors[0].shape)}: "
                "hand over sgrnn.AdaptedCore(model)"
            )


def _works(model: nn.Module, inputs: Steps, state: State) -> bool:
    try:
        with torch.no_grad(), forked_random(leaves(inputs)[0].device), kept_buffers(model):
            _, after = model(inputs, map_state(Tensor.clone, state))
        shapes = [tensor.shape for tensor in leaves(after)]
    except Exception:  # whatever a model raises that is made for other sizes
        return False
    return shapes == [tensor.shape for tensor in leaves(state)]


def _one_more(tensor: Tensor, axis: int) -> Tensor:
    """Return the tensor with a copy of its first row appended."""
    return torch.cat([tensor, tensor.narrow(axis, 0, 1)], dim=axis).detach()
