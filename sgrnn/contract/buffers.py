"""Protection of a model's buffers during extra passes, which must leave them unchanged."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def kept_buffers(model: nn.Module, values: Sequence[Tensor] | None = None) -> Iterator[Callable[[], str | None]]:
    """Let a model work on copies of its buffers, such as batch statistics, inside this context.

    Args:
        model: any module.
        values: what the copies hold to begin with, as `buffers_of` had it once; None for what the buffers hold now.

    Yields:
        A function that names a buffer which the model has changed so far, or gives None.
    """
    places = [
        (f"{name}.{own}".lstrip("."), module, own, buffer)
        for name, module in model.named_modules()
        for own, buffer in module._buffers.items()
        if buffer is not None
    ]
    buffers = [buffer for *_, buffer in places]
    copies = {id(buffer): held.clone() for buffer, held in zip(buffers, values or buffers, strict=True)}
    for _, module, own, buffer in places:
        module._buffers[own] = copies[id(buffer)]

    def changed() -> str | None:
        for name, module, own, buffer in places:  # by value: batch norm's kernel writes past the version counter
            if not same_values(module._buffers[own], buffer):
                return name
        return None

    try:
        yield changed
    finally:
        for _, module, own, buffer in places:
            module._buffers[own] = buffer


def buffers_of(model: nn.Module) -> list[Tensor]:
    """Return a model's buffers, in the order in which `kept_buffers` takes their values."""
    return [buffer for module in model.modules() for buffer in module._buffers.values() if buffer is not None]


def same_values(now: Tensor | None, before: Tensor) -> bool:
    """True where a tensor has the shape and values of another, NaN counted as a value."""
    if now is None or now.shape != before.shape or now.device != before.device:
        return False
    return torch.equal(now, before) or bool(((now == before) | (now.isnan() & before.isnan())).all())
