"""Gradients reach what learns, through the model's state and its inputs, or the model is refused."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, gradients, make_span, make_state, squared_error
from tolerances import assert_close
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sgrnn.cores import LSTM
from sgrnn.estimators import (
    BPTT,
    Checkpointed,
    ControlVariate,
    ExactAhead,
    GradientEstimator,
    Loss,
    Mixed,
    SyntheticGradients,
    TruncatedBPTT,
)
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


def synthetic(model: nn.Module, state_size: int, **options: Any) -> SyntheticGradients:
    synthesizer = trained(ErrorSynthesizer(state_size, SIZE, SIZE, lookahead=3))
    return SyntheticGradients(model, squared_error, 2, synthesizer=synthesizer, shrinkage=False, **options)


def adjoint(model: nn.Module, state_size: int) -> SyntheticGradients:
    synthesizer = trained(AdjointSynthesizer(state_size, SIZE, SIZE, window=2))
    return SyntheticGradients(model, squared_error, 2, synthesizer=synthesizer, shrinkage=False)


ESTIMATORS: dict[str, Callable[[nn.Module, int], GradientEstimator]] = {
    "full": lambda model, size: BPTT(model, squared_error),
    "checkpointed": lambda model, size: Checkpointed(model, squared_error, 2),
    "overlapping": lambda model, size: TruncatedBPTT(model, squared_error, STEPS + 2, every=STEPS),
    "exact": lambda model, size: ExactAhead(model, squared_error, 2, 3),
    "synthetic": synthetic,
    "one batch": partial(synthetic, parallel=True),
    "mixed": lambda model, size: Mixed(synthetic(model, size, trace_decay=0.5), Constant(0.5)),
    "adjoint": adjoint,
    "control variate": lambda model, size: ControlVariate(synthetic(model, size), 0.5),
}


def make_estimator(name: str, model: nn.Module, state_size: int = 2 * SIZE) -> GradientEstimator:
    return ESTIMATORS[name](model, state_size).double()


def make_whole() -> Span:
    return make_span(STEPS + 3).slice(0, STEPS)


@pytest.mark.parametrize("name", ESTIMATORS)
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
    make_estimator(name, model).backward(span, state)
    expected = gradients(model)
    model.zero_grad()
    assert span.future is not None
    coded = Span(
        model.encoder(span.inputs), span.targets, future=Span(model.encoder(span.future.inputs), span.future.targets)
    )
    make_estimator(name, model.core).backward(coded, state)
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
        make_estimator(name, model).backward(make_whole(), make_state(model.lstm))


@pytest.mark.parametrize("make", [RTRL, partial(BPLambda, learning_rate=0.1)])
def test_online_estimators_refuse_it_too_and_inputs_that_need_a_gradient(
    make: Callable[[nn.Module, Loss], GradientEstimator],
) -> None:
    model, core = Detaching("hidden and cell").double(), LSTM(SIZE, SIZE).double()
    with pytest.raises(ValueError, match="reaches none of its parameters"):
        make(model, squared_error).double().backward(make_whole(), make_state(model.lstm))
    span = make_span(4)
    for inputs in (nn.Linear(SIZE, SIZE).double()(span.inputs), span.inputs.clone().requires_grad_()):
        with pytest.raises(ValueError, match=r"inputs need a gradient.*put what computes them into the model"):
            make(core, squared_error).double().backward(Span(inputs, span.targets), make_state(core))


def test_a_model_whose_state_leads_to_nothing_that_learns_is_refused_also_later() -> None:
    class PassedOn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(SIZE, SIZE)

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            return self.linear(inputs), state

    state, gru = torch.zeros(1, ROWS, SIZE).double(), nn.GRU(SIZE, SIZE).double()
    of_gru, of_other = (make_estimator("synthetic", model, SIZE) for model in (gru, PassedOn().double()))
    of_gru.backward(make_whole(), state)
    gru.requires_grad_(False)
    for estimator in (of_gru, of_other):
        with pytest.raises(ValueError, match="reaches none of its parameters"):
            estimator.backward(make_whole(), state)
    TruncatedBPTT(PassedOn().double(), squared_error, 3).backward(make_whole(), state)  # which injects nothing


def test_a_gradient_for_a_part_that_was_cut_off_is_not_counted_as_injected() -> None:
    shares = {}
    for cut in ("none", "cell"):
        torch.manual_seed(0)
        model = Detaching(cut).double()
        step = make_estimator("synthetic", model).backward(make_whole(), make_state(model.lstm))
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
    ExactAhead(model.gru, squared_error, 2, 3).backward(shifted, state)
    expected = gradients(model)
    model.zero_grad()
    both = ExactAhead(model, lambda outputs, targets: squared_error(outputs["out"] + outputs["beside"], targets), 2, 3)
    both.backward(span.slice(0, STEPS), state)
    assert_close(gradients(model), expected)


def make(kind: str, core: nn.Module, loss: Any) -> GradientEstimator:
    return TruncatedBPTT(core, loss, 2) if kind == "truncated" else SyntheticGradients(core, loss, 2).double()


@pytest.mark.parametrize("kind", ["truncated", "synthetic"])
def test_a_loss_that_is_none_or_has_no_graph_is_refused(kind: str) -> None:
    core = LSTM(SIZE, SIZE).double()
    span, state = make_span(STEPS + 8).slice(0, STEPS), make_state(core)
    with pytest.raises(TypeError, match=r"^loss must return a tensor, got a NoneType$"):
        make(kind, core, lambda outputs, targets: None).backward(span, state)
    message = r"^the loss has no graph: .* outside of torch.no_grad\(\) and torch.inference_mode\(\)$"
    detached = make(kind, core, lambda outputs, targets: squared_error(outputs, targets).detach())
    with pytest.raises(ValueError, match=message):
        detached.backward(span, state)
    with pytest.raises(ValueError, match=message), torch.no_grad():
        make(kind, core, squared_error).backward(span, state)


def test_where_no_graph_is_recorded_the_model_is_not_blamed() -> None:
    core, span = LSTM(SIZE, SIZE).double(), make_span(STEPS)
    for estimator in (TruncatedBPTT(core, squared_error, 6, every=4), RTRL(core, squared_error)):
        for off in (torch.no_grad(), torch.inference_mode()):
            with off, pytest.raises(ValueError, match=r"^no graph is recorded: call backward outside of torch.no_grad"):
                estimator.backward(span.slice(0, 4), make_state(core))


def test_a_model_that_is_held_fixed_under_a_head_that_learns_needs_no_reach() -> None:
    core, head = LSTM(SIZE, SIZE).double().requires_grad_(False), nn.Linear(SIZE, SIZE).double()

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(head(outputs), targets)

    TruncatedBPTT(core, loss, 6, every=4).backward(make_span(4), make_state(core))
    assert all(bool(gradient.any()) for gradient in gradients(head).values())


@pytest.mark.parametrize("name", ESTIMATORS)
def test_spans_of_inputs_with_one_graph_are_refused_and_the_loss_is_not_blamed(name: str) -> None:
    core, span = LSTM(SIZE, SIZE).double(), make_span(2 * STEPS)
    coded = replace(span, inputs=nn.Linear(SIZE, SIZE).double()(span.inputs))
    estimator, state = make_estimator(name, core), make_state(core)
    first, second = (coded.slice(start, start + STEPS, 3) for start in (0, STEPS - 3))
    estimator.backward(first, state)
    with pytest.raises(ValueError, match=r"^the inputs hang on a graph that has been gone through already, "):
        estimator.backward(second, state)


@pytest.mark.parametrize("name", ["checkpointed", "overlapping", "in order", "synthetic in order"])
def test_what_makes_inputs_and_targets_learns_from_both_at_once(name: str) -> None:
    """As where a model predicts what an encoder will make of the next step."""
    in_order = {
        "in order": TruncatedBPTT(core := LSTM(SIZE, SIZE).double(), squared_error, 2, low_memory=True),
        "synthetic in order": synthetic(core, 2 * SIZE, low_memory=True).double(),
    }
    estimator = in_order[name] if name in in_order else make_estimator(name, core)
    at_once = {
        "in order": TruncatedBPTT(core, squared_error, 2),
        "synthetic in order": synthetic(core, 2 * SIZE).double(),
    }
    reference = at_once.get(name) or BPTT(core, squared_error)
    encoder, data, found = nn.Linear(SIZE, SIZE).double(), make_span(STEPS + 4).inputs, list[Any]()
    for made, apart in ((estimator, False), (reference, True)):
        core.zero_grad()
        encoder.zero_grad()
        inputs, targets = (encoder(data) for _ in range(2)) if apart else [encoder(data)] * 2
        made.backward(Span(inputs[:-1], targets[1:]).slice(0, STEPS, 3), make_state(core))
        found.append((gradients(core), gradients(encoder)))
    assert_close(*found)


class OfSteps(nn.Module):
    """A core of one layer, with an output layer in its loss; both may be checkpointed."""

    def __init__(self, *, checkpointed: bool) -> None:
        super().__init__()
        self.core, self.output, self.checkpointed = nn.RNN(SIZE, SIZE), nn.Linear(SIZE, SIZE), checkpointed
        self.input_size = self.hidden_size = SIZE

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return checkpoint(function, *arguments, use_reentrant=False) if self.checkpointed else function(*arguments)

    def forward(self, inputs: Tensor, state: Any) -> Any:
        return self.call(self.core, inputs, state)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.call(lambda outputs: squared_error(self.output(outputs).tanh(), targets), outputs)


@pytest.mark.parametrize("kind", ["exact", "synthetic", "control variate"])
def test_models_and_losses_may_checkpoint_what_is_run_with_their_parameters_held_constant(kind: str) -> None:
    found = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        model = OfSteps(checkpointed=checkpointed).double()
        synthesizer = trained(ErrorSynthesizer(SIZE, SIZE, SIZE, lookahead=3)).double()
        synthetic = SyntheticGradients(model, model.loss, 2, synthesizer=synthesizer, shrinkage=False)
        estimators = {
            "exact": ExactAhead(model, model.loss, 2, 3),
            "synthetic": synthetic,
            "control variate": ControlVariate(synthetic, 0.5),
        }
        estimators[kind].backward(make_whole(), torch.zeros(1, ROWS, SIZE).double())
        found.append(gradients(model))
    assert_close(*found)
