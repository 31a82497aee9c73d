"""The layout of a state as somebody's module has it, and the way from it to a core's state and back."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from sgrnn.state import State, leaves, parts_of, rebuilt


class OwnLayout:
    """Convert between a module's own state and a core's, whose batch is the axis before the last of every tensor.

    Args:
        two, three: own states of two rows and of three, which tell the axis that counts rows.
        name: of the module, for messages.
        like: a tensor of the module, whose precision a part of the state that has the same one follows.

    Raises:
        TypeError: a state holds something else than tensors and None.
        ValueError: not exactly one axis of a tensor counts rows.
    """

    def __init__(self, two: Any, three: Any, name: str, like: Tensor) -> None:
        self._name = name
        self._structure = map_own(lambda tensor: torch.empty(0), two, name)
        both = zip(tensors_of(two, name), tensors_of(three, name), strict=True)
        self._parts = [_part(*pair, name, like.dtype) for pair in both]
        if not self._parts:
            raise ValueError(f"{name} must return a state that holds a tensor, got {two!r}")

    def zeros(self, rows: int, like: Tensor) -> State:
        """Return a core's state of zeros on the device, and in the precision, of a tensor of the module."""
        return _joined(part.zeros(rows, like) for part in self._parts)

    def ours(self, own: Any) -> State:
        """Return an own state as a core's: the tuple of its tensors, or its tensor.

        Raises:
            ValueError: it holds other tensors than the state that the layout was read off.
        """
        tensors = tensors_of(_in_order_of(self._structure, own), self._name)
        if [tensor.dim() for tensor in tensors] != [len(part.shape) for part in self._parts]:
            shapes = (", ".join(str(tuple(shape)) for shape in each) for each in (
                [part.shape for part in self._parts], [tensor.shape for tensor in tensors]
            ))  # fmt: skip
            raise ValueError("{} must return a state as in its first call, {}, got {}".format(self._name, *shapes))
        return _joined(part.ours(tensor) for part, tensor in zip(self._parts, tensors, strict=True))

    def own(self, state: State) -> Any:
        """Return a core's state as the module has it.

        Raises:
            ValueError: it holds another number of tensors.
        """
        tensors = leaves(state)
        if len(tensors) != len(self._parts):
            raise ValueError(f"state must hold {len(self._parts)} tensors, as {self._name} has, got {len(tensors)}")
        parts = iter([part.own(tensor) for part, tensor in zip(self._parts, tensors, strict=True)])
        return map_own(lambda _: next(parts), self._structure, self._name)


@dataclass(frozen=True)
class _Part:
    """A tensor of an own state: its shape with some rows, the axis that counts them, its kind, and its module's."""

    shape: torch.Size
    axis: int
    dtype: torch.dtype
    module: torch.dtype

    def zeros(self, rows: int, like: Tensor) -> Tensor:
        shape = [*self.shape[: self.axis], rows, *self.shape[self.axis + 1 :]]
        dtype = self.dtype
        if dtype == self.module:
            dtype = like.dtype
        elif self.is_number:
            dtype = torch.promote_types(dtype, like.dtype)
        return self.ours(torch.zeros(shape, dtype=dtype, device=like.device))

    @property
    def is_number(self) -> bool:
        return self.dtype.is_floating_point or self.dtype.is_complex

    def ours(self, tensor: Tensor) -> Tensor:
        if tensor.is_complex():  # a view as real numbers is not for rows of odd length under vmap, here or below
            tensor = torch.stack([tensor.real, tensor.imag], dim=-1)
        return tensor.movedim(self.axis, -2) if tensor.dim() > 1 else tensor.unsqueeze(1)

    def own(self, tensor: Tensor) -> Tensor:
        if len(self.shape) == 1 and not self.dtype.is_complex:
            return tensor.squeeze(1)
        moved = tensor.movedim(-2, self.axis).contiguous()
        return torch.complex(moved[..., 0], moved[..., 1]) if self.dtype.is_complex else moved


def map_own(function: Callable[[Tensor], Any], own: Any, name: str) -> Any:
    """Apply a function to the tensors of a state as a module has it: a nest that may hold None and dataclasses too.

    Raises:
        TypeError: a leaf is neither a tensor nor None.
    """
    if own is None:
        return None
    if isinstance(own, Tensor):
        return function(own)
    if isinstance(own, dict | tuple | list):
        return rebuilt(own, [map_own(function, part, name) for part in parts_of(own)])
    if is_dataclass(own) and not isinstance(own, type):
        return type(own)(**{each.name: map_own(function, getattr(own, each.name), name) for each in fields(own)})
    raise TypeError(
        f"{name} must carry a state of tensors, in tuples, lists, dicts or dataclasses, got a {type(own).__name__}: "
        "hand over a function, call=, that makes tensors of it, and it of them"
    )


def _in_order_of(like: Any, own: Any) -> Any:
    """Return a state as a module has it with the keys of its dicts in the order of another's."""
    if isinstance(own, dict) and isinstance(like, dict) and own.keys() == like.keys():
        return {key: _in_order_of(like[key], own[key]) for key in like}
    if isinstance(own, tuple | list) and isinstance(like, tuple | list) and len(own) == len(like):
        return [_in_order_of(*pair) for pair in zip(like, own, strict=True)]
    if is_dataclass(own) and type(own) is type(like) and not isinstance(own, type):
        return [_in_order_of(getattr(like, each.name), getattr(own, each.name)) for each in fields(own)]
    return own


def tensors_of(own: Any, name: str) -> list[Tensor]:
    """Return the tensors of a state as a module has it, in order."""
    tensors: list[Tensor] = []
    map_own(tensors.append, own, name)
    return tensors


def _joined(tensors: Iterable[Tensor]) -> State:
    state = tuple(tensors)
    return state[0] if len(state) == 1 else state


def _part(two: Tensor, three: Tensor, name: str, module: torch.dtype) -> _Part:
    pairs = list(zip(two.shape, three.shape, strict=False))
    differing = [axis for axis, (here, there) in enumerate(pairs) if here != there]
    if two.dim() == three.dim() and [pairs[axis] for axis in differing] == [(2, 3)]:
        return _Part(two.shape, differing[0], two.dtype, module)
    remedy = "hand over a function, call=, that reshapes it" if differing else "is batch_first right?"
    raise ValueError(
        f"{name} must carry a state with one axis that counts rows, got {tuple(two.shape)} of 2 rows and "
        f"{tuple(three.shape)} of 3: {remedy}"
    )
