"""Dropout whose masks can be drawn once and used again."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sgrnn.cores.locked import dropout_mask, dropout_rate


class Dropout(nn.Module):
    """Zero each element with probability p and scale the others by 1 / (1 - p), in training only.

    Unlike ``torch.nn.Dropout`` its masks can be recorded and replayed (`recorded_masks`), which lets the same
    windows run twice: one after another, and as one batch.

    Args:
        p: probability of zeroing an element, in [0, 1).
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        self.p = dropout_rate(p)
        self.recording: list[Tensor] | None = None
        self.replaying: list[Tensor] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return inputs
        if self.replaying is not None:
            mask = self.replaying.pop(0)
            if mask.shape != inputs.shape:
                raise ValueError(
                    "windows can run as one batch only where dropout acts on (..., batch, features), got "
                    f"{tuple(inputs.shape)} for masks {tuple(mask.shape)}: run them in order (parallel=False)"
                )
            return inputs * mask
        mask = dropout_mask(inputs.shape, self.p, inputs)
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


def has_recorded(model: nn.Module) -> bool:
    """True where masks have been recorded, and not been replayed yet."""
    return any(module.recording for module in _dropouts(model))


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


def own_masks(model: nn.Module) -> str | None:
    """Return the name of a module whose dropout masks cannot be recorded; None if there is none."""
    for name, module in model.named_modules():
        if module.training and torch_rate(module) > 0:
            return name or "the model"
    return None


def torch_rate(module: nn.Module) -> float:
    """Return the rate at which one of torch's own modules drops out, 0 for any other module."""
    if isinstance(module, nn.RNNBase):
        return module.dropout if module.num_layers > 1 else 0.0
    return module.p if isinstance(module, nn.modules.dropout._DropoutNd) else 0.0


def _dropouts(model: nn.Module) -> list[Dropout]:
    return [module for module in model.modules() if isinstance(module, Dropout)]
