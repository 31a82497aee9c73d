"""Regularization of a model in training, switched off or refused."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from sgrnn.cores.activation import ActivationRegularization
from sgrnn.cores.dropout import Dropout, torch_rate
from sgrnn.cores.locked import SpanDropout


@contextmanager
def without_regularization(model: nn.Module) -> Iterator[None]:
    """Switch all dropout of a model, and the penalty on its outputs, off inside this context, also in training mode."""
    rates: list[tuple[nn.Module, str, float]] = []
    for module in model.modules():
        if isinstance(module, Dropout | SpanDropout | nn.modules.dropout._DropoutNd):
            rates.append((module, "p", module.p))
        elif isinstance(module, nn.RNNBase):
            rates.append((module, "dropout", module.dropout))
        elif isinstance(module, ActivationRegularization):
            rates += [(module, name, getattr(module, name)) for name in ("activation", "temporal")]
    for module, name, _ in rates:
        setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, rate in rates:
            setattr(module, name, rate)


def require_no_dropout(model: nn.Module, reason: str, *, of_a_call: bool = False) -> None:
    """Refuse a model with dropout that is switched on.

    Args:
        model: any module.
        reason: beginning of the message.
        of_a_call: True for dropout alone that draws new masks at each call, and not for `SpanDropout`.

    Raises:
        ValueError: it has some; the message names the module.
    """
    for name, module in model.named_modules():
        rate = module.p if isinstance(module, Dropout) else torch_rate(module)
        if isinstance(module, SpanDropout) and not of_a_call:
            rate = module.p
        if module.training and rate > 0:
            raise ValueError(f"{reason}, so that it must be without dropout, got {rate} in {name or 'the model'}")
