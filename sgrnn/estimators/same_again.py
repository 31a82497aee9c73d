"""Models that give other results when they run again: that drop out, take batch statistics, or draw random numbers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from sgrnn.contract.again import drawn_since, random_states
from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.caller import Caller
from sgrnn.contract.modules import forked_random
from sgrnn.cores.regularization import require_no_dropout
from sgrnn.span import Span
from sgrnn.state import State, detach


def require_same_again(model: nn.Module, reason: str, *, of_a_call: bool = False) -> None:
    """Refuse a model that gives other results when it runs again: one that drops out or takes batch statistics.

    Args:
        model: the model.
        reason: beginning of the message.
        of_a_call: as `require_no_dropout`.

    Raises:
        ValueError: it does; the message names the module.
    """
    require_no_dropout(model, reason, of_a_call=of_a_call)
    if (name := batch_statistics(model)) is not None:
        raise ValueError(f"{reason}, and {name} takes batch statistics")


@contextmanager
def drawing_nothing(model: nn.Module, span: Span, state: State, reason: str) -> Iterator[None]:
    """Refuse a model that draws random numbers inside this context, and would do so again.

    Args:
        model, span, state: what runs.
        reason: beginning of the message, why that does not fit.

    Raises:
        ValueError: it does.
    """
    before = random_states(span.device)
    yield
    if drawn_since(before, span.device) and draws(model, span, state):
        raise ValueError(
            f"{reason}, and the model draws random numbers by itself, which would be others then: let it drop out by "
            "sgrnn.LockedDropout, or draw them outside and hand them over among the inputs"
        )


def draws(model: nn.Module, span: Span, state: State) -> bool:
    """Tell whether a model draws random numbers when it runs a span once more, having been called before."""
    with torch.no_grad(), forked_random(span.device), kept_buffers(model):
        before = random_states(span.device)
        Caller(model)(span.inputs, detach(state))
        return drawn_since(before, span.device)


def batch_statistics(model: nn.Module) -> str | None:
    """Return the name of a module that normalizes by batch statistics; None if there is none in training mode."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            return name or "the model"
    return None
