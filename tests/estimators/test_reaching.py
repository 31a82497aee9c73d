"""Gradients reach what learns, through the model's state and its inputs, or the model is refused."""

from typing import Any

import pytest
import torch
from models import ROWS, SIZE, gradients, make_span, make_state, squared_error
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.estimators import BPTT, ExactAhead, GradientEstimator, Mixed, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.online import RTRL, BPLambda
from sgrnn.estimators.schedules import Constant
from sgrnn.span import Span
from sgrnn.synthesizers import AdjointSynthesizer, ErrorSynthesizer

STEPS = 6


def trained(synthesizer: Any) -> Any:
    """As after some training: predictions that are not zero."""
    torch.manual_seed(1)
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return synthesizer


def synthetic(state_size: int, **options: Any) -> SyntheticGradients:
    return SyntheticGradients(2, trained(ErrorSynthesizer(state_size, SIZE, SIZE, lookahead=3)), **options)


def estimators(state_size: int) -> dict[str, GradientEstimator]:
    adjoint = AdjointSynthesizer(state_size, SIZE, SIZE, window=2)
    choices = {
        "full": BPTT(),
        "exact": ExactAhead(2, 3),
        "synthetic": synthetic(state_size, shrinkage=False),
        "one batch": synthetic(state_size, shrinkage=False, parallel=True),
        "mixed": Mixed(synthetic(state_size, shrinkage=False, trace_decay=0.5), Constant(0.5)),
        "adjoint": SyntheticGradients(2, trained(adjoint), shrinkage=False),
    }
    return {name: estimator.double() for name, estimator in choices.items()}


def make_whole() -> Span:
    return make_span(STEPS + 3).slice(0, STEPS)


@pytest.mark.parametrize("name", estimators(2 * SIZE))
def test_an_encoder_before_the_model_learns_as_if_it_were_a_part_of_it(name: str) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.core = nn.Linear(SIZE, SIZE), LSTM(SIZE, SIZE)

        def input_features(self, inputs: Tensor) -> Tensor:
            return self.encoder(inputs)

        def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
            return self.core(self.encoder(inputs), state)

    torch.manual_seed(0)
    model = Whole().double()
    span, state = make_whole(), make_state(LSTM(SIZE, SIZE).double())
    estimators(2 * SIZE)[name].backward(model, squared_error, span, state)
    expected = gradients(model)
    model.zero_grad()
    assert span.future is not None
    coded = Span(
        model.encoder(span.inputs), span.targets, future=Span(model.encoder(span.future.inputs), span.future.targets)
    )
    estimators(2 * SIZE)[name].backward(model.core, squared_error, coded, state)
    assert_close(gradients(model), expected)


class Detaching(nn.Module):
    """Cuts its own state off, as many models do that handle it themselves."""

    def __init__(self, cut: str) -> None:
        super().__init__()
        self.lstm = nn.LSTM(SIZE, SIZE)
        self.cut = cut

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        outputs, (hidden, cell) = self.lstm(inputs, state)
        if "hidden" in self.cut:
            hidden = hidden.detach()
        return outputs, (hidden, cell.detach() if "cell" in self.cut else cell)


@pytest.mark.parametrize("name", ["one batch", "mixed", "exact"])
def test_a_model_that_detaches_its_state_is_refused_where_something_is_injected(name: str) -> None:
    model = Detaching("hidden and cell").double()
    with pytest.raises(ValueError, match=r"reaches none of its parameters.*no detach\(\)"):
        estimators(2 * SIZE)[name].backward(model, squared_error, make_whole(), make_state(model.lstm))


@pytest.mark.parametrize("estimator", [RTRL(), BPLambda(2 * SIZE, learning_rate=0.1).double()])
def test_online_estimators_refuse_it_too_and_inputs_with_a_graph(estimator: GradientEstimator) -> None:
    model, core = Detaching("hidden and cell").double(), LSTM(SIZE, SIZE).double()
    with pytest.raises(ValueError, match="reaches none of its parameters"):
        estimator.backward(model, squared_error, make_whole(), make_state(model.lstm))
    span = make_span(4)
    coded = Span(nn.Linear(SIZE, SIZE).double()(span.inputs), span.targets)
    with pytest.raises(ValueError, match=r"inputs carry a graph.*put what computes them into the model"):
        estimator.backward(core, squared_error, coded, make_state(core))


def test_a_model_whose_state_leads_to_nothing_that_learns_is_refused_also_later() -> None:
    class PassedOn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(SIZE, SIZE)

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            return self.linear(inputs), state

    state, estimator, gru = torch.zeros(1, ROWS, SIZE).double(), estimators(SIZE)["synthetic"], nn.GRU(SIZE, SIZE)
    estimator.backward(gru.double(), squared_error, make_whole(), state)
    for model in (PassedOn().double(), gru.requires_grad_(False)):
        with pytest.raises(ValueError, match="reaches none of its parameters"):
            estimator.backward(model, squared_error, make_whole(), state)
    TruncatedBPTT(3).backward(PassedOn().double(), squared_error, make_whole(), state)  # which injects nothing


def test_a_gradient_for_a_part_that_was_cut_off_is_not_counted_as_injected() -> None:
    shares = {}
    for cut in ("none", "cell"):
        torch.manual_seed(0)
        model = Detaching(cut).double()
        step = estimators(2 * SIZE)["synthetic"].backward(
            model, squared_error, make_whole(), make_state(model.lstm)
        )  # fmt: skip
        shares[cut] = float(step.metrics["injected_share"])
    assert 0 < shares["cell"] < shares["none"]


def test_exact_gradients_go_through_outputs_beside_the_state() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(SIZE, SIZE)

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Any, Tensor]:
            outputs, after = self.gru(inputs, state)
            return {"out": outputs, "beside": inputs}, after

    model, state, span = Beside().double(), torch.zeros(1, ROWS, SIZE).double(), make_span(STEPS + 3)
    shifted = Span(span.inputs, span.targets - span.inputs).slice(0, STEPS)
    ExactAhead(2, 3).backward(model.gru, squared_error, shifted, state)
    expected = gradients(model)
    model.zero_grad()
    ExactAhead(2, 3).backward(
        model, lambda o, t: squared_error(o["out"] + o["beside"], t), span.slice(0, STEPS), state
    )  # fmt: skip
    assert_close(gradients(model), expected)
