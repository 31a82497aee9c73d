"""Dicts are read by their keys: in which order a state or the data of a step were put together makes no number."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, OwnCore, as_if_trained, gradients, make_span, make_state, squared_error
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.estimators import BPTT, Delayed, ExactAhead, GradientEstimator, Loss, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.online import RTRL, UORO, BPLambda, SnAp1
from sgrnn.span import Span
from sgrnn.synthesizers import DiagonalSynthesizer

Make = Callable[[nn.Module, Loss], GradientEstimator]
EVERY = [BPTT, partial(ExactAhead, window=2, lookahead=2), RTRL, SnAp1, UORO, partial(BPLambda, learning_rate=1e-3)]


def turned(nest: Any) -> Any:
    """The same with the keys of its dict the other way round."""
    return type(nest)((key, nest[key]) for key in reversed(nest)) if isinstance(nest, dict) else nest


class Turning(OwnCore):
    """Hands its state back in another order than it is given."""

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        outputs, after = super().forward(inputs, state)
        return outputs, turned(after)


def trained(make: Make, kind: type[OwnCore], turn: Callable[[Any], Any]) -> dict[str, Tensor]:
    """Gradients of a core over a span in which sequences begin, from a state that has been turned or not."""
    torch.manual_seed(0)
    model = kind().double()
    torch.manual_seed(1)
    span = make_span(6, is_first=[(0, 1), (3, 0)], future=make_span(2, seed=7))
    make(model, squared_error).backward(span, turn(make_state(model)))
    return gradients(model)


@pytest.mark.parametrize("make", EVERY)
def test_a_state_comes_back_in_any_order(make: Make) -> None:
    assert_close(trained(make, Turning, lambda state: state), trained(make, OwnCore, lambda state: state))


@pytest.mark.parametrize("make", EVERY[:4])  # what the others draw, and predict, goes by the order of the given state
def test_a_state_is_given_in_any_order(make: Make) -> None:
    assert_close(trained(make, OwnCore, turned), trained(make, OwnCore, lambda state: state))


class Reads(nn.Module):
    """An LSTM of two inputs that do not do the same."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.LSTM(SIZE, SIZE)

    def initial_state(self, rows: int) -> Any:
        return torch.zeros(1, rows, SIZE).double(), torch.zeros(1, rows, SIZE).double()

    def forward(self, inputs: dict[str, Tensor], state: Any) -> tuple[Tensor, Any]:
        return self.core(inputs["a"] - 2 * inputs["b"], state)


def late(model: nn.Module, loss: Loss) -> GradientEstimator:
    torch.manual_seed(3)
    diagonal = DiagonalSynthesizer(2 * SIZE, SIZE, lookahead=4)  # which reads output gradients alone
    return Delayed(as_if_trained(SyntheticGradients(model, loss, 2, synthesizer=diagonal)))


@pytest.mark.parametrize("kind", [dict, OrderedDict])
@pytest.mark.parametrize("make", [partial(TruncatedBPTT, window=6, every=2), late])
def test_kept_steps_are_joined_by_their_keys(make: Make, kind: Callable[..., dict[str, Tensor]]) -> None:
    def found(turn: Callable[[Any], Any]) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = Reads().double()
        estimator, state = make(model, squared_error), model.initial_state(ROWS)
        for number in range(5):
            one, other = make_span(2, seed=number), make_span(2, seed=number + 10)
            inputs = kind(a=one.inputs, b=other.inputs)
            span = Span(turn(inputs) if number == 2 else inputs, one.targets)
            state = estimator.backward(span, state).state
        return gradients(model)

    assert_identical(found(turned), found(lambda inputs: inputs))


def test_a_future_is_of_the_kind_of_its_span_in_any_order() -> None:
    data = {"a": torch.zeros(2, ROWS, 3), "b": torch.zeros(2, ROWS, 5)}
    span = Span(data, data)
    with pytest.raises(ValueError, match=r"^future.inputs must be of the kind of inputs"):
        replace(span, future=Span({"a": data["b"], "b": data["a"]}, data))
    replace(span, future=Span(turned(data), turned(data)))


def test_model_and_loss_are_given_the_data_as_they_were_put_together() -> None:
    class ByPlace(Reads):
        def forward(self, inputs: dict[str, Tensor], state: Any) -> tuple[Tensor, Any]:
            assert list(inputs) == ["b", "a"]
            return super().forward(inputs, state)

    def loss(outputs: Tensor, targets: Any) -> Tensor:
        assert list(targets) == ["z", "y"]
        return squared_error(outputs, targets["y"])

    one, other = make_span(4), make_span(4, seed=9)
    span = Span({"b": one.inputs, "a": other.inputs}, {"z": other.targets, "y": one.targets})
    model = ByPlace().double()
    TruncatedBPTT(model, loss, 4, every=2).backward(span.slice(0, 2), model.initial_state(ROWS))
