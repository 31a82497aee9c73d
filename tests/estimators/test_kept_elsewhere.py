"""What estimators keep of a stream is taken over on another device, and by one that keeps less."""

from collections.abc import Callable

import pytest
import torch
from models import squared_error
from torch import nn

from sgrnn import LSTM, Delayed, GradientEstimator, Span, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.past import Past
from sgrnn.estimators.waiting import Waiting

MAKES: dict[str, Callable[[nn.Module], GradientEstimator]] = {
    "delayed": lambda core: Delayed(SyntheticGradients(core, squared_error, 1, lookahead=2)),
    "overlapping": lambda core: TruncatedBPTT(core, squared_error, 4, every=1),
}


def lived(core: nn.Module, estimator: GradientEstimator, steps: int = 4) -> GradientEstimator:
    state = None
    for _ in range(steps):
        state = estimator.backward(Span(torch.randn(1, 2, 3), torch.randn(1, 2, 5)), state).state
    return estimator


@pytest.mark.parametrize("kind", MAKES)
def test_what_is_kept_is_taken_over_on_the_device_of_the_estimator(kind: str) -> None:
    core = LSTM(3, 5)
    (saved,), (kept,) = (parts(lived(core, MAKES[kind](core))), parts(MAKES[kind](core).to("meta")))
    kept.set_extra_state(saved.get_extra_state())
    found = [tensor.device.type for tensor in tensors_in(kept.get_extra_state())]
    assert len(found) > 4
    assert set(found) == {"meta"}


def parts(estimator: GradientEstimator) -> list[Past | Waiting]:
    return [part for part in estimator.modules() if isinstance(part, Past | Waiting)]


def tensors_in(nest: object) -> list[torch.Tensor]:
    if isinstance(nest, torch.Tensor):
        return [nest]
    parts = nest.values() if isinstance(nest, dict) else nest if isinstance(nest, list | tuple) else []
    return [tensor for part in parts for tensor in tensors_in(part)]


def test_an_estimator_of_a_shorter_window_takes_over_no_more_steps_than_it_keeps() -> None:
    torch.manual_seed(0)
    core, state = LSTM(3, 5), None
    spans = [Span(torch.randn(1, 2, 3), torch.randn(1, 2, 5)) for _ in range(6)]
    long, short, fresh = (TruncatedBPTT(core, squared_error, window, every=1) for window in (5, 2, 2))
    for span in spans[:5]:
        state = long.backward(span, state).state
    short.load_state_dict(long.state_dict())
    gradients = []
    for estimator in (short, fresh):
        core.zero_grad()
        estimator.backward(spans[5], state)
        gradients.append([parameter.grad for parameter in core.parameters()])
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
