"""The diagonal core of `benchmarks/diagonal.py`, whose gradients forwards are exact."""

import torch
from diagonal import DiagonalCore, DiagonalRTRL
from torch import Tensor, nn

from sgrnn import BPTT, Span


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(dim=-1)


def test_gradients_of_steps_and_of_spans_add_up_to_those_of_the_whole_sequence() -> None:
    torch.manual_seed(0)
    core = DiagonalCore(3, 5).double()
    inputs, targets = torch.randn(9, 2, 3).double(), torch.randn(9, 2, 5).double()
    BPTT(core, squared).backward(Span(inputs, targets))
    whole = _taken(core)
    estimator, state, total = DiagonalRTRL(core, squared), None, None
    for start, stop in ((0, 1), (1, 2), (2, 6), (6, 9)):
        state = estimator.backward(Span(inputs[start:stop], targets[start:stop]), state).state
        share = [gradient * (stop - start) / 9 for gradient in _taken(core)]
        total = share if total is None else [one + other for one, other in zip(total, share, strict=True)]
    assert total is not None
    for ours, theirs in zip(total, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_a_new_sequence_forgets_the_influence_of_the_old() -> None:
    torch.manual_seed(0)
    core = DiagonalCore(3, 5).double()
    span = Span(torch.randn(4, 2, 3).double(), torch.randn(4, 2, 5).double())
    estimator = DiagonalRTRL(core, squared)
    estimator.backward(span)
    first = _taken(core)
    estimator.backward(span)
    for again, before in zip(_taken(core), first, strict=True):
        torch.testing.assert_close(again, before, rtol=0, atol=0)


def _taken(core: nn.Module) -> list[Tensor]:
    """Return the gradients, and clear them."""
    gradients = [parameter.grad.clone() for parameter in core.parameters() if parameter.grad is not None]
    core.zero_grad()
    return gradients
