"""Calls of a user's model, checked: it must return outputs and a state of the same kind, and change nothing else.

``model(inputs, state) -> (outputs, state)`` may be any module. A violation that went unnoticed would show as a wrong
number and nothing else, so each is looked for, and refused with the reason.
"""

from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import same_values
from sgrnn.contract.modules import called
from sgrnn.span import Steps
from sgrnn.state import State, leaves, map_state, rebuilt

# Models that were seen to leave what they are given as it is, in training and in evaluation, where they may do other
# things: once is enough, and costs nothing later.
_write_nothing: dict[bool, WeakSet[nn.Module]] = {True: WeakSet(), False: WeakSet()}


class Caller:
    """Run a model window by window, checking its first call against the contract.

    A model is taken to treat all windows alike, so that one check is enough. States keep their precision, whatever
    autocast, around the estimator or inside the model, makes of them; counters are handed over as copies, so that a
    model may count in place.

    Args:
        model: ``model(inputs, state) -> (outputs, state)``.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._first = True
        self._counts = self._rounds = False

    def __call__(self, inputs: Steps, state: State) -> tuple[Any, State]:
        """Run the model over some steps.

        Args:
            inputs: (time, batch, ...), or several tensors of that kind.
            state: before the first step.

        Raises:
            TypeError: the model does not return outputs and a state.
            ValueError: the outputs are not real ones (time, batch, ...), the state changes its structure or shape,
                it or the inputs were written in place, or inputs and model do not lie on one device in one precision.
        """
        if not self._first:
            outputs, after = called(self.model, inputs, _own_counters(state) if self._counts else state)
            return outputs, _restored(after, state) if self._rounds else arranged_like(after, state)
        before = leaves(state)
        self._counts = any(not tensor.is_floating_point() for tensor in before)
        given, kept = [*before, *leaves(inputs)], []
        if self.model not in _write_nothing[self.model.training]:
            kept = [tensor.detach().clone() for tensor in given]
        try:
            returned = called(self.model, inputs, _own_counters(state) if self._counts else state)
        except (RuntimeError, ValueError) as error:
            if "leaf Variable that requires grad" in str(error):
                in_state = not any(tensor.requires_grad for tensor in leaves(inputs))
                raise ValueError(_in_place() if in_state else _into_inputs("inputs or the state")) from error
            if (misfit := misfit_behind(error, self.model, inputs, before)) is not None:
                raise ValueError(misfit) from error
            raise
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            raise TypeError(f"model must return (outputs, state), got {_described(returned)}")
        outputs, after = returned
        for place, pair in enumerate(zip(given, kept, strict=False)):  # nothing is kept of a model that is known
            if not same_values(*pair):
                raise ValueError(_in_place() if place < len(before) else _into_inputs())
        _write_nothing[self.model.training].add(self.model)
        _require_outputs(outputs, inputs)
        after = arranged_like(after, state)
        _require_same_shape(before, leaves(after))
        self._rounds = any(_is_rounded(new, old) for new, old in zip(leaves(after), before, strict=True))
        self._first = False
        return outputs, _restored(after, state) if self._rounds else after


def _own_counters(state: State) -> State:
    return map_state(lambda tensor: tensor if tensor.is_floating_point() else tensor.clone(), state)


def _is_rounded(new: Tensor, old: Tensor) -> bool:
    both = new.is_floating_point() and old.is_floating_point()
    return both and torch.finfo(new.dtype).bits < torch.finfo(old.dtype).bits


def _restored(after: State, before: State) -> State:
    return map_state(
        lambda new, old: new.to(old.dtype) if _is_rounded(new, old) else new, arranged_like(after, before), before
    )


def arranged_like(after: State, before: State) -> State:
    """Return a state after a call in the structure of that before: a dict in that order, one tensor for one.

    Raises:
        ValueError: it is a state of other tensors.
    """
    if isinstance(before, Tensor) and not isinstance(after, Tensor) and len(leaves(after)) == 1:
        return leaves(after)[0]
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        return rebuilt(before, [arranged_like(after[key], before[key]) for key in before])
    if isinstance(before, tuple | list) and isinstance(after, tuple | list) and len(before) == len(after):
        return rebuilt(before, [arranged_like(*pair) for pair in zip(after, before, strict=True)])
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return after
    number, found = len(leaves(before)), len(leaves(after))
    raise ValueError(f"model must hand back a state of as many tensors as it was given, {number}, got {found}, and in "
                     "the same structure")  # fmt: skip


def misfit_behind(error: Exception, model: nn.Module, inputs: Steps, state: list[Tensor]) -> str | None:
    """Name what lies on another device than the model, or has another precision, and the remedy.

    Args:
        error: that the model raised; None is returned where it speaks of neither.
        model, inputs, state: of the call.
    """
    own = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), None)
    if own is None or not any(word in str(error) for word in ("type", "device")):
        return None
    reads_ids = any(isinstance(module, nn.Embedding) for module in model.modules())
    for name, tensors, it in (
        ("inputs", leaves(inputs), "them"), ("state", state, "it, or what initial_state gives")
    ):  # fmt: skip
        for tensor in tensors:
            if tensor.device != own.device:
                return f"{name} must be on the model's device, {own.device}, got {tensor.device}: move {it}"
            vectors = tensor.is_floating_point() or (name == "inputs" and not reads_ids)
            if vectors and tensor.dtype != own.dtype:
                return f"{name} must be in the model's precision, {own.dtype}, got {tensor.dtype}: convert {it}"
    return None


def _require_outputs(outputs: Any, inputs: Steps) -> None:
    expected = leaves(inputs)[0].shape[:2]
    for tensor in leaves(outputs):
        if tensor.shape[:2] != expected:
            raise ValueError(
                f"model must give outputs (time, batch, ...), here ({expected[0]}, {expected[1]}, ...), got "
                f"{tuple(tensor.shape)}"
            )
        if tensor.is_complex():
            raise ValueError(
                f"model must give real outputs, got {tensor.dtype}: hand out real and imaginary parts (view_as_real)"
            )


def _require_same_shape(before: list[Tensor], after: list[Tensor]) -> None:
    for old, new in zip(before, after, strict=True):
        if old.shape != new.shape:
            raise ValueError(
                f"model must hand back a state of the shape it was given, {tuple(old.shape)}, got {tuple(new.shape)}"
            )
        if old.is_floating_point() != new.is_floating_point():
            raise ValueError(f"model must hand back a state of the kind it was given, {old.dtype}, got {new.dtype}")


def _in_place() -> str:
    return (
        "the model writes into the state that it is given, which is kept as the window's first: return a new state, or "
        "clone it before writing (state = state.clone())"
    )


def _into_inputs(what: str = "inputs") -> str:
    return (
        f"the model writes into the {what} that it is given, which may be read again: clone them before writing "
        "(inputs = inputs.clone())"
    )


def _described(returned: Any) -> str:
    if isinstance(returned, tuple | list):
        return f"a {type(returned).__name__} of {len(returned)}"
    return f"a {type(returned).__name__}"
