"""Any module: a call that is its class's own; precision, device and mode; what it draws; methods inside wrappers."""

import operator
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook
from torch.nn.utils import parametrize

_WRAPPERS = {
    "DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "AveragedModel", "OptimizedModule",
    "_FabricModule",
}  # fmt: skip
"""Classes that run the module inside them as it is, by name, since no build of torch has to have all of them."""


def is_plain(module: nn.Module, kind: type[nn.Module], parameters: Collection[str]) -> bool:
    """True where a call of a module runs the forward of its class and nothing else.

    False with hooks, with a forward of its own, parametrized, quantized, or with parameters added or replaced.

    Args:
        module: the module.
        kind: the class that it must be, and no subclass.
        parameters: names that its parameters must have, no fewer and no more.
    """
    return (
        type(module) is kind
        and "forward" not in vars(module)
        and module._parameters.keys() == set(parameters)
        and all(parameter is not None for parameter in module._parameters.values())
        and not (module._forward_hooks or module._forward_pre_hooks)
        and not (module._backward_hooks or module._backward_pre_hooks or _has_any_global_hook())
    )


def tensor_of(module: nn.Module) -> Tensor:
    """Return a tensor in the precision and on the device of a module, for new tensors to be made like it.

    A quantized module may have no parameters: it is float32 outside, on the CPU.
    """
    return next((parameter for parameter in module.parameters() if parameter.is_floating_point()), torch.empty(0))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode inside this context, and every module of it back into its own afterwards.

    ``model.train(mode)`` would put all of them into one: also a part that its owner holds in evaluation mode, such as a
    pretrained encoder or a batch norm.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def called(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Call a model or a loss with what `torch.nn.utils.parametrize.cached` keeps put aside, and back afterwards.

    A parametrized weight is then computed once a call: one that was computed without a graph, or whose graph has been
    gone through, is of no use to the next.
    """
    if not parametrize._cache_enabled:
        return function(*arguments, **keywords)
    kept, parametrize._cache = parametrize._cache, {}
    try:
        return function(*arguments, **keywords)
    finally:
        parametrize._cache = kept


def forked_random(device: torch.device) -> AbstractContextManager[None]:
    """Put the random generators, those of the device too, back to their states at the end of this context."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def method_of(module: nn.Module, name: str) -> Callable[..., Any] | None:
    """Return the method of this name of a module or of the module inside torch's wrappers; None if there is none."""
    while not callable(method := getattr(module, name, None)):
        if (inner := wrapped(module)) is None:
            return None
        module = inner
    return method


def wrapped(module: nn.Module) -> nn.Module | None:
    """Return the module inside a wrapper that runs it as it is; None if it is none.

    ``DistributedDataParallel`` holds its module as `module`, a compiled one as `_orig_mod`. Any other module with a
    part of that name is no wrapper: it may do anything with it.
    """
    if not any(kind.__name__ in _WRAPPERS for kind in type(module).__mro__):
        return None
    inner = (getattr(module, name, None) for name in ("module", "_orig_mod"))
    return next((each for each in inner if isinstance(each, nn.Module)), None)


def require_no_ddp(model: nn.Module, reason: str) -> None:
    """Refuse a model in which ``DistributedDataParallel`` averages gradients, or runs a part.

    Args:
        model: any module.
        reason: beginning of the message, why that does not fit.

    Raises:
        ValueError: it is one.
    """
    for module in model.modules():
        if any(kind.__name__ == "DistributedDataParallel" for kind in type(module).__mro__):
            raise ValueError(
                f"{reason}: hand over the module inside DistributedDataParallel, and average the gradients after "
                "backward"
            )


def input_size(core: nn.Module, called: str) -> int:
    """Return how many features of a step a core reads, as its attribute ``input_size`` has it.

    Raises:
        ValueError: it has none; `called` says which core it is.
    """
    return _size(core, "input_size", called)


def hidden_size(core: nn.Module, called: str) -> int:
    """Return how many features a core gives for a step: its attribute ``hidden_size``, or torch's ``proj_size``.

    Raises:
        ValueError: it has none; `called` says which core it is.
    """
    return getattr(core, "proj_size", 0) or _size(core, "hidden_size", called)


def _size(core: nn.Module, name: str, called: str) -> int:
    try:
        return operator.index(getattr(core, name, None))  # pyright: ignore[reportArgumentType]  (which may be missing)
    except TypeError:
        raise ValueError(f"{called} must have the attribute {name}, a number, got a {type(core).__name__}") from None
