"""Estimators refuse what they cannot train, say what they see, and can be looked at without a trace."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    Table,
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
from sgrnn.estimators import BPTT, ExactAhead, GradientEstimator, Mixed, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.online import RTRL
from sgrnn.estimators.schedules import Constant
from sgrnn.estimators.synthetic import Mixture
from sgrnn.span import Span
from sgrnn.state import State, to_matrix
from sgrnn.synthesizers import ErrorSynthesizer, MLPSynthesizer

STEPS, WINDOW = 6, 2
ESTIMATORS: dict[str, Callable[[], GradientEstimator]] = {
    "full": BPTT,
    "truncated": lambda: TruncatedBPTT(WINDOW),
    "synthetic": lambda: SyntheticGradients(WINDOW, MLPSynthesizer(2 * SIZE), shrinkage=False).double(),
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
        ESTIMATORS[name]().backward(model, loss, make_span(STEPS), make_state(model))
    assert not any(gradient.any() for gradient in gradients(model).values())


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


@pytest.mark.parametrize("name", ["truncated", "synthetic"])
def test_a_loss_that_reaches_into_the_graph_past_the_outputs_is_refused(name: str) -> None:
    model = Leaky()

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(outputs, targets) + model.activations.square().mean()

    with pytest.raises(ValueError, match=r"^the loss reaches into the model's graph past its outputs: "):
        ESTIMATORS[name]().backward(model, loss, make_span(STEPS), make_state(model))


def test_outputs_that_are_no_tensors_are_refused() -> None:
    class Odd(Leaky):
        def forward(self, inputs: Tensor, state: State) -> tuple[Any, State]:
            outputs, state = super().forward(inputs, state)
            return SimpleNamespace(outputs=outputs), state

    model = Odd()
    with pytest.raises(
        TypeError, match=r"^states and outputs are tensors, or tuples, lists or dicts of them, got Simple"
    ):
        BPTT().backward(model, squared_error, make_span(STEPS), make_state(model))


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
        SyntheticGradients(**{"window": 5, "synthesizer": Table(1, 1)} | options)


def test_a_module_that_is_no_synthesizer_and_a_mixture_out_of_range_are_refused() -> None:
    with pytest.raises(TypeError, match=r"^synthesizer must be a sgrnn.Synthesizer, got a Identity$"):
        SyntheticGradients(5, nn.Identity())  # pyright: ignore[reportArgumentType]  (as somebody might)
    with pytest.raises(ValueError, match=r"^window must be at least 1 step, got 0$"):
        TruncatedBPTT(0)
    model = make_core("LSTM-1")
    estimator = SyntheticGradients(WINDOW, MLPSynthesizer(2 * SIZE)).double()
    for mixture, message in [
        (Mixture(share=0.0), r"^share must be in \(0, 1\], got 0.0$"),
        (Mixture(share=1.5), r"^share must be in \(0, 1\], got 1.5$"),
        (Mixture(real_window=3), "^real_window must be a multiple of the window, 2 steps, got 3$"),
    ]:
        with pytest.raises(ValueError, match=message):
            estimator.backward_mixed(model, squared_error, make_span(STEPS), make_state(model), mixture)


def test_an_estimator_sees_as_far_as_its_synthesizer_and_has_its_parameters() -> None:
    model = make_language_model()
    assert BPTT().lookahead == TruncatedBPTT(3).lookahead == SyntheticGradients(3, Table(1, 1)).lookahead == 0
    for synthesizer in (model.mlp_synthesizer(7), model.synthesizer(7)):
        estimator = SyntheticGradients(3, synthesizer)
        assert (estimator.lookahead, Mixed(estimator, Constant(0.5)).lookahead) == (7, 7)
        assert [id(one) for one in estimator.parameters()] == [id(one) for one in synthesizer.parameters()]
    ahead = [SyntheticGradients(3, model.synthesizer(6), run_ahead=ahead).lookahead for ahead in (0, 2, 6, 9)]
    assert ahead == [0, 2, 6, 6]
    assert SyntheticGradients(3, model.mlp_synthesizer(6), run_ahead=2).lookahead == 6, "one that sees no gradients"
    assert list(BPTT().parameters()) == list(TruncatedBPTT(3).parameters()) == []


@pytest.mark.parametrize("kind", ["synthesizer", "mlp_synthesizer"])
def test_a_lookahead_without_a_future_is_refused(kind: str) -> None:
    model = make_language_model()
    estimator = SyntheticGradients(WINDOW, getattr(model, kind)(lookahead=2)).double()
    blind = make_text(STEPS).with_future(None)
    with pytest.raises(ValueError, match="looks 2 steps ahead, so a span needs its future"):
        estimator.backward(model, model.loss, blind, make_state(model))
    ended = Span(blind.inputs, blind.targets, is_last=torch.ones(ROWS, dtype=torch.bool))
    estimator.backward(model, model.loss, ended, make_state(model))


LOOKED_AT: dict[str, Callable[[], GradientEstimator]] = {
    **ESTIMATORS,
    "exact": lambda: ExactAhead(WINDOW, 3),
    "online": RTRL,
    "error": lambda: SyntheticGradients(
        WINDOW, ErrorSynthesizer(2 * SIZE, SIZE, SIZE, lookahead=3), shrinkage=False
    ).double(),
    "mixed": lambda: Mixed(ESTIMATORS["synthetic"](), Constant(0.5)).double(),  # pyright: ignore[reportArgumentType]
}


@pytest.mark.parametrize("name", LOOKED_AT)
def test_every_estimator_can_be_looked_at_without_a_trace(name: str) -> None:
    model, estimator = make_core("LSTM-1"), LOOKED_AT[name]()
    for parameter in estimator.parameters():
        nn.init.normal_(parameter, std=0.3)
    span, state = make_span(STEPS + 3).slice(0, STEPS), make_state(model)
    estimator.backward(model, squared_error, span, state)
    before = [gradients(model), gradients(estimator), {n: b.clone() for n, b in estimator.named_buffers()}]
    random = torch.get_rng_state()
    other = make_span(STEPS + 3, seed=5).slice(0, STEPS)
    seen = estimator.look(model, squared_error, other, state)
    assert_identical([gradients(model), gradients(estimator), dict(estimator.named_buffers())], before)
    assert_identical(torch.get_rng_state(), random)
    windows = len(seen.boundaries) - 1
    assert seen.boundaries == ([0, STEPS] if estimator.window is None else [*range(0, STEPS + 1, estimator.window)])
    assert_close(to_matrix(seen.states)[-ROWS:], to_matrix(seen.final_state))
    assert seen.predicted.shape == ((windows + 1) * ROWS, 2 * SIZE)
    assert seen.injected.shape == (windows * ROWS, 2 * SIZE)
    assert estimator.predicts == (name in ("synthetic", "error", "mixed"))
    assert bool(seen.injected.any()) == (estimator.predicts or name == "exact")
    if estimator.predicts:
        assert seen.predicted.any()
