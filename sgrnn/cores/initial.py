"""The state in which a sequence begins, for any core."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.caller import misfit_behind
from sgrnn.contract.layout import require_time_first
from sgrnn.contract.modules import called, evaluating, forked_random, method_of, tensor_of, wrapped
from sgrnn.state import State, detach, floating_leaves, leaves, map_state


def initial_state(core: nn.Module, batch_size: int) -> State:
    """Return the state of a core before its first step.

    Args:
        core: a module with a method ``initial_state(batch_size)``, or a one-directional, time-first
            ``torch.nn.LSTM``, ``GRU`` or ``RNN``, for which it is zeros.
        batch_size: number of rows.

    Raises:
        TypeError: the module is neither.

    >>> hidden, cell = initial_state(nn.LSTM(3, 5, num_layers=2), batch_size=4)
    >>> cell.shape
    torch.Size([2, 4, 5])
    """
    holder = _holder(core)
    if holder is None:
        raise TypeError(f"{type(core).__name__} has no initial_state(batch_size) and is no torch.nn.LSTM, GRU or RNN")
    if _has_method(holder):
        method: Callable[[int], State] = holder.initial_state  # pyright: ignore[reportAssignmentType]  (it is callable)
        return method(batch_size)
    assert isinstance(holder, nn.RNNBase), "as _holder has it"
    require_time_first(holder)
    weight = tensor_of(holder)
    hidden = weight.new_zeros(holder.num_layers, batch_size, holder.proj_size or holder.hidden_size)
    if isinstance(holder, nn.LSTM):
        return hidden, weight.new_zeros(holder.num_layers, batch_size, holder.hidden_size)
    return hidden


def has_initial_state(model: nn.Module) -> bool:
    """True where `initial_state` knows the state in which a model's sequences begin."""
    return _holder(model) is not None


def first_state(model: nn.Module, inputs: Any) -> State:
    """Return the state in which a model's sequences begin, for as many rows as its inputs have.

    A model without a method ``initial_state(batch_size)`` may have one ``first_state(inputs)``, or do without a state,
    if it is given None: it is run for a few steps to see what its state looks like, and must treat None as zeros.

    Args:
        model: any model.
        inputs: (time, batch, ...), or a nest of such tensors.

    Raises:
        ValueError: the model does not say in which state its sequences begin, or reads the batch first, or the inputs
            are not on its device in its precision.
    """
    rows = leaves(inputs)[0].shape[1]
    if has_initial_state(model):
        return initial_state(model, rows)
    if (method := method_of(model, "first_state")) is not None:
        return method(inputs)
    number = 3 if rows == 2 else 2  # so that rows and steps can be told apart
    step = map_state(lambda steps: steps[:number].detach(), inputs)
    remedy = "give it a method initial_state(batch_size), or adapt it by sgrnn.AdaptedCore"
    try:
        outputs, state = _look(model, step, None)
        zeros = map_state(torch.zeros_like, state)
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError) as error:
        if (misfit := misfit_behind(error, model, step, [])) is not None:
            raise ValueError(misfit) from error
        raise ValueError(
            f"{type(model).__name__} has no initial_state(batch_size), and cannot be called with None for a state "
            f"({error}): {remedy}"
        ) from None
    for tensor in leaves(zeros):
        if tensor.dim() < 2 or tensor.shape[-2] != rows:
            raise ValueError(
                f"{type(model).__name__} makes a state {tuple(tensor.shape)} of {rows} rows: it must read inputs "
                "(time, batch, ...), not batch_first, and hold states (..., batch, features), or become "
                "sgrnn.AdaptedCore(model)"
            )
    found = [*leaves(outputs), *leaves(state)]
    again = [tensor for part in _look(model, step, zeros) for tensor in leaves(part)]
    if not all(map(equal_but_for_rounding, found, again)):
        raise ValueError(
            f"{type(model).__name__} has no initial_state(batch_size), and begins in no state of zeros: {remedy}"
        )
    return zeros


def _look(model: nn.Module, step: Any, state: State) -> tuple[Any, State]:
    """Run a model for some steps, without its dropout, and leave it and the random generators as they are."""
    like = leaves(step)[0]
    if hasattr(model, "_orig_mod"):
        model = wrapped(model) or model  # nothing is compiled for so few steps
    # In evaluation mode, since a batch norm refuses a step of a single row in training.
    with torch.no_grad(), forked_random(like.device), kept_buffers(model), evaluating(model):
        outputs, after = called(model, step, state)
    return outputs, after


def equal_but_for_rounding(one: Tensor, other: Tensor) -> bool:
    """True where two tensors are of one shape and of the same values, rounding aside."""
    return one.shape == other.shape and torch.allclose(one, other, equal_nan=True)


def beginnings(model: nn.Module, like: State, inputs: Any, places: Sequence[int]) -> dict[int, State]:
    """Return the states in which sequences of a model begin at some steps: its own initial or first one, or else zeros.

    Args:
        model: any model.
        like: a state of it, for structure and sizes of the zeros.
        inputs: (time, batch, ...), or a nest of such tensors, of as many rows.
        places: the steps before which sequences begin. What a first state is read from begins there, too.

    Raises:
        ValueError: the model has no method ``initial_state``, and a module in it has one that does not give zeros: a
            wrapper must hand it on.
    """
    if not has_initial_state(model) and (method := method_of(model, "first_state")) is not None:
        return {place: method(map_state(lambda steps, place=place: steps[place:], inputs)) for place in places}
    return dict.fromkeys(places, _initial_state_or_zeros(model, like, inputs)) if places else {}


def _initial_state_or_zeros(model: nn.Module, like: State, inputs: Any) -> State:
    if has_initial_state(model):
        return initial_state(model, leaves(inputs)[0].shape[1])
    for name, module in model.named_modules():
        if name and _has_method(module):
            try:
                own = floating_leaves(initial_state(module, 1))
            except TypeError:  # a method of another kind
                continue
            if any(tensor.requires_grad or bool(tensor.any()) for tensor in own):
                raise ValueError(
                    f"{type(model).__name__} has no initial_state(batch_size) and its part {name} has one, so that "
                    f"sequences would begin in zeros and not there: give it a method that returns what {name}'s does"
                )
    return map_state(torch.zeros_like, detach(like))


def _holder(model: nn.Module) -> nn.Module | None:
    """Return the module that knows its initial state: the model, or what torch's wrappers hold."""
    if _has_method(model) or isinstance(model, nn.RNNBase):
        return model
    inner = wrapped(model)
    return None if inner is None else _holder(inner)


def _has_method(module: nn.Module) -> bool:
    return callable(getattr(module, "initial_state", None))
