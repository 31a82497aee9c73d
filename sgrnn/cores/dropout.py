"""Dropout whose masks can be drawn once and used again."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero each element with probability p and scale the others by 1 / (1 - p), in training only.

    Unlike ``torch.nn.Dropout`` its masks can be recorded and replayed (`recorded_masks`), which lets the same
    windows run twice: one after another, and as one batch.

    Args:
        p: probability of zeroing an element, in [0, 1).
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout must be in [0, 1), got {p}")
        self.p = p
        self.recording: list[Tensor] | None = None
        self.replaying: list[Tensor] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return inputs
        if self.replaying is not None:
            return inputs * self.replaying.pop(0)
        mask = torch.empty_like(inputs).bernoulli_(1 - self.p).div_(1 - self.p)
        if self.recording is not None:
            self.recording.append(mask)
        return inputs * mask

    def extra_repr(self) -> str:
        return f"p={self.p}"


@contextmanager
def recorded_masks(model: nn.Module) -> Iterator[None]:
    """Record the masks that the model's `Dropout` modules draw inside this context, for `replayed_masks`.

    Raises:
        ValueError: the model draws masks that cannot be recorded: ``torch.nn.Dropout``, or a recurrent torch module
            with dropout of its own.
    """
    if (name := own_masks(model)) is not None:
        raise ValueError(f"running windows as one batch needs sgrnn.Dropout, but {name} draws its own masks")
    modules = _dropouts(model)
    for module in modules:
        module.recording = []
    try:
        yield
    except BaseException:
        for module in modules:
            module.recording = None
        raise


@contextmanager
def replayed_masks(model: nn.Module, windows: int) -> Iterator[None]:
    """Replay the recorded masks of K windows inside this context, joined along the batch, the axis before the last."""
    modules = _dropouts(model)
    for module in modules:
        masks, module.recording = module.recording or [], None
        calls = len(masks) // windows
        module.replaying = [torch.cat(masks[call::calls], dim=-2) for call in range(calls)]
    try:
        yield
    finally:
        for module in modules:
            module.replaying = None


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Switch all dropout of a model off inside this context, also in training mode."""
    rates: list[tuple[nn.Module, str, float]] = []
    for module in model.modules():
        if isinstance(module, Dropout | nn.modules.dropout._DropoutNd):
            rates.append((module, "p", module.p))
        elif isinstance(module, nn.RNNBase):
            rates.append((module, "dropout", module.dropout))
    for module, name, _ in rates:
        setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, rate in rates:
            setattr(module, name, rate)


def own_masks(model: nn.Module) -> str | None:
    """Return the name of a module whose dropout masks cannot be recorded; None if there is none."""
    return next((name for name, module in _drawing(model) if not isinstance(module, Dropout)), None)


def require_no_dropout(model: nn.Module, reason: str) -> None:
    """Refuse a model with dropout that is switched on.

    Raises:
        ValueError: it does; the message names the module.
    """
    for name, module in _drawing(model):
        rate = module.dropout if isinstance(module, nn.RNNBase) else module.p
        raise ValueError(f"{reason}, so that it must be without dropout, got {rate} in {name}")


def _drawing(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that drop out in the mode they are in, with names for messages."""
    for name, module in model.named_modules():
        if isinstance(module, Dropout | nn.modules.dropout._DropoutNd):
            drops = module.p > 0
        else:
            drops = isinstance(module, nn.RNNBase) and module.dropout > 0 and module.num_layers > 1
        if module.training and drops:
            yield name or "the model", module


def _dropouts(model: nn.Module) -> list[Dropout]:
    return [module for module in model.modules() if isinstance(module, Dropout)]
