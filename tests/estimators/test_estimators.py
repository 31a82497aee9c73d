"""Estimators refuse what they cannot train, say what they see, and can be looked at without a trace."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    OwnCore,
    Table,
    as_if_trained,
    gradients,
    make_core,
    make_language_model,
    make_span,
    make_state,
    make_text,
    squared_error,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import initial_state
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
from sgrnn.estimators.online import RTRL
from sgrnn.estimators.schedules import Constant
from sgrnn.estimators.synthetic import Mixture
from sgrnn.span import Span
from sgrnn.state import State, to_matrix
from sgrnn.synthesizers import ErrorSynthesizer, MLPSynthesizer

STEPS, WINDOW = 6, 2
MakeEstimator = Callable[[nn.Module, Loss], GradientEstimator]


def perceptron(model: nn.Module, loss: Loss) -> SyntheticGradients:
    return SyntheticGradients(model, loss, WINDOW, synthesizer=MLPSynthesizer(2 * SIZE), shrinkage=False).double()


ESTIMATORS: dict[str, MakeEstimator] = {
    "full": BPTT,
    "truncated": partial(TruncatedBPTT, window=WINDOW),
    "synthetic": perceptron,
}


def per_row(outputs: Tensor, targets: Tensor) -> Tensor:
    return squared_error(outputs, targets).mean(dim=0)


@pytest.mark.parametrize(
    ("name", "loss", "shape"),
    [
        ("truncated", lambda outputs, targets: (outputs - targets).square(), r"\(6, 3, 3\)"),
        ("synthetic", per_row, r"\(3,\)"),
    ],
)
def test_a_loss_that_is_not_one_number_per_step_and_row_is_refused(
    name: str, loss: Callable[[Tensor, Tensor], Tensor], shape: str
) -> None:
    model = make_core("LSTM-1")
    message = (
        rf"^loss must give one number per step and row, \(6, 3\), got {shape}: "
        r"switch off its own averaging \(reduction='none'\)$"
    )
    with pytest.raises(ValueError, match=message):
        ESTIMATORS[name](model, loss).backward(make_span(STEPS), make_state(model))
    assert not any(gradient.any() for gradient in gradients(model).values())


@pytest.mark.parametrize("make", [*ESTIMATORS.values(), partial(Checkpointed, window=WINDOW), RTRL])
def test_data_that_are_no_span_are_refused(make: MakeEstimator) -> None:
    span: Any = make_span(STEPS)
    with pytest.raises(TypeError, match=r"^span must be a Span, got a tuple$"):
        make(make_core("LSTM-1"), squared_error).backward((span.inputs, span.targets))  # pyright: ignore[reportArgumentType]


class Leaky(nn.Module):
    """Keeps its activations for a loss to reach."""

    def __init__(self) -> None:
        super().__init__()
        self.core = make_core("LSTM-1")

    def initial_state(self, batch_size: int) -> State:
        return initial_state(self.core, batch_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        self.activations, state = self.core(inputs, state)
        return self.activations, state


@pytest.mark.parametrize("name", ["truncated", "synthetic", "checkpointed", "overlapping"])
def test_a_loss_that_reaches_into_the_graph_past_the_outputs_is_refused(name: str) -> None:
    model = Leaky()

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(outputs, targets) + model.activations.square().mean()

    with pytest.raises(ValueError, match=r"^the loss reaches into the model's graph past its outputs: "):
        LOOKED_AT[name](model, loss).backward(make_span(STEPS), make_state(model))


def test_outputs_that_are_no_tensors_are_refused() -> None:
    class Odd(Leaky):
        def forward(self, inputs: Tensor, state: State) -> tuple[Any, State]:
            outputs, state = super().forward(inputs, state)
            return SimpleNamespace(outputs=outputs), state

    model = Odd()
    with pytest.raises(
        TypeError, match=r"^states and outputs are tensors, or tuples, lists or dicts of them, got Simple"
    ):
        BPTT(model, squared_error).backward(make_span(STEPS), make_state(model))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window must be at least 1 step, got 0"),
        ({"discount": -0.1}, r"discount must be in \[0, 1\], got -0.1"),
        ({"discount": 1.1}, r"discount must be in \[0, 1\], got 1.1"),
        ({"trace_decay": 1.1}, r"trace_decay must be in \[0, 1\], got 1.1"),
        ({"run_ahead": -1}, "run_ahead must be at least 0 steps, got -1"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        SyntheticGradients(nn.Identity(), squared_error, **{"window": 5, "synthesizer": Table(1, 1)} | options)


@pytest.mark.parametrize("make", [BPTT, partial(TruncatedBPTT, window=2), RTRL])
def test_a_model_that_is_no_module_and_a_loss_that_is_no_function_are_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"^model must be a torch.nn.Module, got a function$"):
        make(squared_error, squared_error)
    with pytest.raises(TypeError, match=r"^loss must be a function of outputs and targets, got a str$"):
        make(make_core("LSTM-1"), "mse")


def test_a_module_that_is_no_synthesizer_and_a_mixture_out_of_range_are_refused() -> None:
    model, unfit = make_core("LSTM-1"), nn.Identity()
    with pytest.raises(TypeError, match=r"^synthesizer must be a sgrnn.Synthesizer, got a Identity$"):
        SyntheticGradients(model, squared_error, 5, synthesizer=unfit)  # pyright: ignore[reportArgumentType]  (as somebody might)
    for kind in (TruncatedBPTT, Checkpointed):
        with pytest.raises(ValueError, match=r"^window must be at least 1 step, got 0$"):
            kind(model, squared_error, 0)
    estimator = SyntheticGradients(model, squared_error, WINDOW, synthesizer=MLPSynthesizer(2 * SIZE)).double()
    for mixture, message in [
        (Mixture(share=0.0), r"^share must be in \(0, 1\], got 0.0$"),
        (Mixture(share=1.5), r"^share must be in \(0, 1\], got 1.5$"),
        (Mixture(real_window=3), "^real_window must be a multiple of the window, 2 steps, got 3$"),
    ]:
        with pytest.raises(ValueError, match=message):
            estimator.backward_mixed(make_span(STEPS), make_state(model), mixture)


def test_an_estimator_sees_as_far_as_its_synthesizer_and_has_its_parameters() -> None:
    model = make_language_model()
    make = partial(SyntheticGradients, model, model.loss, 3)
    for blind in (BPTT(model, model.loss), TruncatedBPTT(model, model.loss, 3), Checkpointed(model, model.loss, 3)):
        assert (blind.lookahead, list(blind.parameters()), blind.state_dict()) == (0, [], {})
    assert make(synthesizer=Table(1, 1)).lookahead == 0
    for synthesizer in (model.mlp_synthesizer(7), model.synthesizer(7)):
        estimator = make(synthesizer=synthesizer)
        assert (estimator.lookahead, Mixed(estimator, Constant(0.5)).lookahead) == (7, 7)
        assert [id(one) for one in estimator.parameters()] == [id(one) for one in synthesizer.parameters()]
    ahead = [make(synthesizer=model.synthesizer(6), run_ahead=ahead).lookahead for ahead in (0, 2, 6, 9)]
    assert ahead == [0, 2, 6, 6]
    assert make(synthesizer=model.mlp_synthesizer(6), run_ahead=2).lookahead == 6, "one that sees no gradients"


@pytest.mark.parametrize("kind", ["synthesizer", "mlp_synthesizer"])
def test_a_lookahead_without_a_future_is_refused(kind: str) -> None:
    model = make_language_model()
    estimator = SyntheticGradients(model, model.loss, WINDOW, synthesizer=getattr(model, kind)(lookahead=2)).double()
    blind = make_text(STEPS).with_future(None)
    with pytest.raises(ValueError, match="looks 2 steps ahead, so a span needs its future"):
        estimator.backward(blind, make_state(model))
    ended = Span(blind.inputs, blind.targets, is_last=torch.ones(ROWS, dtype=torch.bool))
    estimator.backward(ended, make_state(model))


def error(model: nn.Module, loss: Loss) -> SyntheticGradients:
    synthesizer = ErrorSynthesizer(2 * SIZE, SIZE, SIZE, lookahead=3)
    return SyntheticGradients(model, loss, WINDOW, synthesizer=synthesizer, shrinkage=False).double()


LOOKED_AT: dict[str, MakeEstimator] = {
    **ESTIMATORS,
    "checkpointed": partial(Checkpointed, window=WINDOW),
    "overlapping": partial(TruncatedBPTT, window=STEPS + 2, every=STEPS),
    "exact": partial(ExactAhead, window=WINDOW, lookahead=3),
    "online": RTRL,
    "error": error,
    "control variate": lambda model, loss: ControlVariate(error(model, loss)),
    "mixed": lambda model, loss: Mixed(perceptron(model, loss), Constant(0.5)),
}


class Bare(nn.Module):
    """Says nothing of its initial state, and takes None for zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = make_core("nn.LSTM-1")

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.lstm(inputs, state)


@pytest.mark.parametrize("name", LOOKED_AT)
@pytest.mark.parametrize("make", [partial(make_core, "own"), partial(make_core, "nn.LSTM-1"), Bare])
def test_without_a_state_a_span_begins_where_sequences_do(name: str, make: Callable[[], nn.Module]) -> None:
    results = []
    for given in (True, False):
        model = make()
        estimator = LOOKED_AT[name](model, squared_error)
        torch.manual_seed(1)
        for parameter in estimator.parameters():
            nn.init.normal_(parameter, std=0.3)
        state = initial_state(model.lstm if isinstance(model, Bare) else model, ROWS) if given else None
        is_first = [(0, row) for row in range(ROWS)] if given else None
        span = make_span(STEPS + 3, is_first=is_first).slice(0, STEPS)
        seen = estimator.look(span, state)
        step = estimator.backward(span, state)
        buffers = dict(estimator.named_buffers())
        results.append([vars(step), gradients(model), gradients(estimator), buffers, seen.injected, seen.final_state])
    assert_identical(results[1], results[0])


@pytest.mark.parametrize("name", LOOKED_AT)
def test_every_estimator_can_be_looked_at_without_a_trace(name: str) -> None:
    model = make_core("LSTM-1")
    estimator = LOOKED_AT[name](model, squared_error)
    for parameter in estimator.parameters():
        nn.init.normal_(parameter, std=0.3)
    span, state = make_span(STEPS + 3).slice(0, STEPS), make_state(model)
    estimator.backward(span, state)
    before = [gradients(model), gradients(estimator), {n: b.clone() for n, b in estimator.named_buffers()}]
    random = torch.get_rng_state()
    other = make_span(STEPS + 3, seed=5).slice(0, STEPS)
    seen = estimator.look(other, state)
    assert_identical([gradients(model), gradients(estimator), dict(estimator.named_buffers())], before)
    assert_identical(torch.get_rng_state(), random)
    windows = len(seen.boundaries) - 1
    window = min(estimator.window or STEPS, STEPS)
    assert seen.boundaries == [*range(0, STEPS + 1, window)]
    assert_close(to_matrix(seen.states)[-ROWS:], to_matrix(seen.final_state))
    assert seen.predicted.shape == ((windows + 1) * ROWS, 2 * SIZE)
    assert seen.injected.shape == (windows * ROWS, 2 * SIZE)
    assert estimator.predicts == (name in ("synthetic", "error", "control variate", "mixed"))
    assert bool(seen.injected.any()) == (estimator.predicts or name == "exact")
    if estimator.predicts:
        assert seen.predicted.any()


@pytest.mark.parametrize(
    "make",
    [
        BPTT,
        partial(Checkpointed, window=WINDOW),
        partial(TruncatedBPTT, window=STEPS, every=STEPS),
        partial(ExactAhead, window=WINDOW, lookahead=2),
        lambda model, loss: as_if_trained(SyntheticGradients(model, loss, WINDOW, example=make_span(1).inputs)),
        lambda model, loss: as_if_trained(
            SyntheticGradients(model, loss, WINDOW, low_memory=True, example=make_span(1).inputs)
        ),
        RTRL,
    ],
)
def test_a_loss_may_write_into_outputs(make: MakeEstimator) -> None:
    def trained(in_place: bool) -> tuple[dict[str, Tensor], State]:
        torch.manual_seed(0)
        head, model = nn.Sequential(nn.ReLU(in_place), nn.Linear(SIZE, SIZE)).double(), OwnCore().double()
        estimator = make(model, lambda outputs, targets: squared_error(head(outputs), targets))
        step = estimator.backward(make_span(STEPS, future=make_span(9, seed=3)), make_state(model))
        return gradients(nn.ModuleList([model, head, estimator])), step.state

    assert_identical(trained(in_place=True), trained(in_place=False))
