"""What an update takes, counted: operations of matrix products, and steps of the core."""

import warnings
from typing import Any

import torch
from runs import Updates
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sgrnn.config.recipe import Recipe


class _Operations(TorchDispatchMode):
    """Counts the floating-point operations of matrix products inside its context."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def count(recipe: Recipe) -> dict[str, float]:
    """Count what the second update of a recipe takes, per token.

    Returns:
        `operations`, floating-point ones of matrix products; `steps forward` of the core; and `steps backward`, those
        of the former that have a graph and are gone through again.
    """
    torch.manual_seed(0)
    loop = Updates(recipe)
    loop.update()
    steps = {True: 0, False: 0}

    def note(core: nn.Module, arguments: tuple[Any, ...], results: tuple[Any, ...]) -> None:
        steps[torch.is_grad_enabled()] += results[0].shape[0] * results[0].shape[1]

    handle = loop.model.core.register_forward_hook(note)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a TF32 that no CPU has
        # Fused kernels hide their products from the counter.
        with torch.backends.mkldnn.flags(enabled=False), _Operations() as counter:
            loop.update()
    handle.remove()
    assert recipe.span is not None, "of a text"
    tokens = recipe.span * recipe.training.batch_size
    return {
        "operations": counter.total / tokens,
        "steps forward": sum(steps.values()) / tokens,
        "steps backward": steps[True] / tokens,
    }
