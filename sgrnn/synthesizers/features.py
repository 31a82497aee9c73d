"""Features of steps that a synthesizer reads: functions that belong to somebody else."""

from collections.abc import Callable
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary, ref

from torch import Tensor, nn

# Synthesizers that were looked at, and the model that each fits: once is enough, and costs nothing later.
_fitting: WeakKeyDictionary[nn.Module, ref[nn.Module]] = WeakKeyDictionary()


class Borrowed:
    """Calls a method of a module without owning the module: a copy of the borrower shares it.

    Copied together with the module, and after it, the copy borrows from the copy (see `fit_features` too).

    Args:
        method: bound to a module.
    """

    def __init__(self, method: MethodType) -> None:
        self.method = method

    @property
    def owner(self) -> nn.Module:
        """The module."""
        return self.method.__self__  # pyright: ignore[reportReturnType]  (as `borrowed` made sure)

    def __call__(self, *tensors: Tensor) -> Tensor:
        return self.method(*tensors)

    def __eq__(self, other: object) -> bool:
        return self.method == (other.method if isinstance(other, Borrowed) else other)

    def __hash__(self) -> int:
        return hash(self.method)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Borrowed":
        return Borrowed(MethodType(self.method.__func__, memo.get(id(self.owner), self.owner)))


def borrowed(features: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Hold a method of a module by reference; any other function as it is, and a module as a part."""
    if isinstance(features, MethodType) and isinstance(features.__self__, nn.Module):
        return Borrowed(features)
    return features


def require_feature_size(found: Tensor, size: int) -> None:
    """Refuse features of other sizes than were announced.

    Raises:
        ValueError: they are not (steps, rows, size).
    """
    if found.dim() != 3 or found.shape[2] != size:
        raise ValueError(f"features must give (steps, rows, {size}), as feature_size says, got {tuple(found.shape)}")


def fit_features(synthesizer: nn.Module, model: nn.Module) -> None:
    """Let a synthesizer read the features of the model that is trained, and refuse one that would train the model.

    A synthesizer made for a model reads that model's features. Where a copy of the model is trained instead, or the
    synthesizer was copied, loaded or handed on by itself, it must not go on reading what nobody trains any more.

    Raises:
        ValueError: synthesizer and model share a parameter.
    """
    if (seen := _fitting.get(synthesizer)) is not None and seen() is model:
        return
    shared = {id(parameter) for parameter in model.parameters()}
    for name, parameter in synthesizer.named_parameters():
        if id(parameter) in shared:
            raise ValueError(
                f"the synthesizer's {name} is a parameter of the model, and would be trained by both: give features as "
                "a function (lambda inputs: model.embedding(inputs)) and not as a module of the model"
            )
    parts = list(model.modules())
    for module in synthesizer.modules():
        features = getattr(module, "features", None)
        if isinstance(features, Borrowed) and all(part is not features.owner for part in parts):
            same = [part for part in parts if type(part) is type(features.owner)]
            if len(same) == 1 and not type(features.owner).__module__.startswith("torch."):
                features.method = MethodType(features.method.__func__, same[0])
    _fitting[synthesizer] = ref(model)
