"""Operations in the place of fused ones, while derivatives of a model's step are taken."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from sgrnn.cores import HierarchicalCore


@contextmanager
def plain_operations(model: nn.Module) -> Iterator[None]:
    """Keep a model from fused kernels, which ``torch.func`` cannot transform, inside this context.

    torch's recurrent modules then compute step by step, and hierarchies by operations that do not depend on the phase.
    """
    backends: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn)
    enabled = [backend.enabled for backend in backends]
    hierarchies = [
        module
        for module in model.modules()
        if type(module).forward is HierarchicalCore.forward and "forward" not in vars(module)
    ]
    try:
        for backend in backends:
            backend.enabled = False
        for module in hierarchies:  # an attribute of the instance goes before the method of its class
            vars(module)["forward"] = module.forward_plain
        yield
    finally:
        for backend, value in zip(backends, enabled, strict=True):
            backend.enabled = value
        for module in hierarchies:
            del vars(module)["forward"]
