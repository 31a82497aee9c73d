"""The memory that a model takes, and that the machine has."""

import os
from collections.abc import Callable

import torch
from torch import nn

from sgrnn.errors import InputError

_GIBIBYTE = 1 << 30


def require_room(build: Callable[[], nn.Module]) -> None:
    """Refuse a model whose parameters alone take more memory than the machine has.

    Args:
        build: makes it; only shapes are asked.

    Raises:
        InputError: it is too large.
    """
    try:
        with torch.device("meta"):
            parameters = list(build().parameters())
    except (RuntimeError, TypeError, OverflowError) as error:  # sizes that no tensor can have
        raise InputError(
            f"the model cannot be built, its sizes are too large: {str(error).splitlines()[0]}; make "
            "model.hidden_size and other sizes of model smaller"
        ) from None
    size, memory = sum(each.numel() * each.element_size() for each in parameters), _memory()
    if memory is not None and size > memory:
        raise InputError(
            f"the model has {sum(each.numel() for each in parameters):,} parameters, {size / _GIBIBYTE:,.0f} GiB, more "
            f"than the memory of this machine, {memory / _GIBIBYTE:,.0f} GiB: make model.hidden_size and other sizes "
            "of model smaller"
        )


def _memory() -> int | None:
    """Return the bytes of the machine's memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
