"""Nothing that is not finite stays with an estimator, or reaches the rows beside."""

import math
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, gradients, make_span, make_state, squared_error
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.estimators import Delayed, ExactAhead, Loss, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.online import RTRL, BPLambda, SnAp1
from sgrnn.span import Span
from sgrnn.state import State
from sgrnn.synthesizers import AdjointSynthesizer, ErrorSynthesizer, MLPSynthesizer, Synthesizer

STEPS = 6


def synthetic(
    core: nn.Module, synthesizer: Synthesizer | None = None, loss: Loss = squared_error, **options: Any
) -> SyntheticGradients:
    """As after some training: predictions that are not zero."""
    synthesizer = synthesizer or ErrorSynthesizer(2 * SIZE, SIZE, SIZE, lookahead=3)
    torch.manual_seed(1)
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return SyntheticGradients(core, loss, 2, synthesizer=synthesizer, **options).double()


def make_whole(seed: int = 2) -> Span:
    return make_span(STEPS + 3, seed=seed).slice(0, STEPS)


@pytest.mark.parametrize(
    ("kind", "where", "bad"),
    [
        ("error", "future inputs", math.inf),
        ("error", "state", math.nan),
        ("trace", "future targets", math.nan),
        ("mlp", "inputs", math.inf),
        ("mlp", "future targets", math.nan),
        ("adjoint", "inputs", math.nan),
        ("adjoint", "state", math.inf),
    ],
)
def test_a_span_that_is_not_finite_leaves_nothing_behind(kind: str, where: str, bad: float) -> None:
    torch.manual_seed(0)
    core = LSTM(SIZE, SIZE).double()
    estimator = {
        "error": lambda: synthetic(core),
        "trace": lambda: synthetic(core, trace_decay=0.5),
        "mlp": lambda: synthetic(core, MLPSynthesizer(2 * SIZE, lookahead=3, feature_size=2 * SIZE), parallel=True),
        "adjoint": lambda: synthetic(core, AdjointSynthesizer(2 * SIZE, SIZE, SIZE, window=2)),
    }[kind]()
    for seed in range(3):
        estimator.backward(make_whole(seed), make_state(core))
    span, state = make_whole(), make_state(core)
    assert span.future is not None
    place = {
        "inputs": span.inputs, "targets": span.targets, "future inputs": span.future.inputs,
        "future targets": span.future.targets, "state": state[0],
    }[where]  # fmt: skip
    place[0, 1, 0] = bad
    core.zero_grad()
    estimator.zero_grad()
    step = estimator.backward(span, state)
    assert all(gradient.isfinite().all() for gradient in gradients(estimator).values()), "it may be stepped"
    if where.startswith("future"):
        assert bool(step.loss.isfinite())
        assert all(gradient.isfinite().all() for gradient in gradients(core).values()), "and so may the model"
    assert all(buffer.isfinite().all() for buffer in estimator.buffers())
    core.zero_grad()
    estimator.zero_grad()
    estimator.backward(make_whole(7), make_state(core))
    assert all(gradient.isfinite().all() for gradient in (gradients(core) | gradients(estimator)).values())


def test_rows_beside_one_that_is_not_finite_have_the_gradients_that_they_had() -> None:
    torch.manual_seed(0)
    core = LSTM(SIZE, SIZE).double()
    results = []
    for value in (1.0, math.nan):
        span = make_whole()
        assert span.future is not None
        span.future.inputs[0, 2] = value
        inputs = span.inputs.clone().requires_grad_()
        synthetic(core, shrinkage=False).backward(
            Span(inputs, span.targets, future=span.future), make_state(core)
        )  # fmt: skip
        assert inputs.grad is not None
        results.append(inputs.grad)
    assert_identical(results[1][:, :2], results[0][:, :2])
    assert_identical(results[1][:2, 2], results[0][:2, 2])  # the third row's first boundary does not see that far
    assert not torch.equal(results[1][2:, 2], results[0][2:, 2])
    inputs = make_whole().inputs.requires_grad_()
    TruncatedBPTT(core, squared_error, 2).backward(Span(inputs, make_whole().targets), make_state(core))
    assert inputs.grad is not None
    assert_close(results[1][2:, 2], inputs.grad[2:, 2])  # the boundaries that see it inject nothing


def test_padding_that_is_not_a_number_does_no_harm_beyond_the_end_of_a_sequence() -> None:
    torch.manual_seed(0)
    core = LSTM(SIZE, SIZE).double()
    for sees_targets in (False, True):
        results = []
        for padding in (0.0, math.nan):
            perceptron = MLPSynthesizer(2 * SIZE, lookahead=3, feature_size=2 * SIZE) if sees_targets else None
            estimator = synthetic(core, perceptron, shrinkage=False)
            span = make_whole()
            assert span.future is not None
            span.future.inputs[1:] = padding
            span.future.targets[1:] = padding
            is_first = torch.zeros(3, ROWS, dtype=torch.bool)
            is_first[1] = True
            future = Span(span.future.inputs, span.future.targets, is_first)
            core.zero_grad()
            estimator.backward(span.with_future(future), make_state(core))
            results.append((gradients(core), gradients(estimator)))
        assert_close(results[1], results[0])


def test_a_mark_for_a_missing_target_does_not_shut_the_synthesizer_out() -> None:
    results = []
    for mark in (0.0, math.nan):
        torch.manual_seed(0)
        core = LSTM(SIZE, SIZE).double()
        span = make_whole()
        span.targets[::2] = mark

        def loss(outputs: Tensor, targets: Tensor, mark: float = mark) -> Tensor:
            there = targets != 0 if mark == 0 else ~targets.isnan()
            return ((outputs - targets.nan_to_num()) * there).square().sum(-1)

        step = synthetic(core, loss=loss, shrinkage=False).backward(span, make_state(core))
        results.append((gradients(core), step.metrics["injected_share"]))
    assert float(results[0][1]) > 0
    assert_close(results[1], results[0])


@pytest.mark.parametrize("place", ["future", "padding"])
def test_exact_gradients_of_steps_that_are_no_numbers_are_left_out(place: str) -> None:
    core = LSTM(SIZE, SIZE).double()
    span = make_whole()
    assert span.future is not None
    span.future.inputs[:, 1] = span.future.targets[:, 1] = math.nan
    is_last = torch.tensor([False, True, False]) if place == "padding" else None
    step = ExactAhead(core, squared_error, 2, 3).backward(
        Span(span.inputs, span.targets, None, is_last, span.future), make_state(core)
    )
    assert step.loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(core).values())


class Reader(nn.Module):
    """A model of ids, or of several inputs a step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.core = nn.Embedding(4, SIZE), LSTM(SIZE, SIZE)

    def initial_state(self, batch_size: int) -> State:
        return self.core.initial_state(batch_size)

    def forward(self, inputs: Any, state: State) -> tuple[Tensor, State]:
        several = isinstance(inputs, tuple)
        return self.core(inputs[0] + inputs[1] if several else self.embedding(inputs), state)


@pytest.mark.parametrize("kind", ["ids", "several"])
def test_exact_gradients_of_any_inputs_leave_out_what_is_no_number(kind: str) -> None:
    torch.manual_seed(0)
    model, gradients_of = Reader(), []
    ids, targets, vectors = torch.randint(4, (8, 3)), torch.randn(8, 3, SIZE), torch.randn(2, 8, 3, SIZE)
    for bad in (False, True):
        if bad:
            (targets if kind == "ids" else vectors[1])[6, 1] = math.nan
        whole = Span(ids if kind == "ids" else tuple(vectors), targets, is_last=torch.ones(3, dtype=torch.bool))
        span = whole.slice(0, 4)
        model.zero_grad()
        assert bool(ExactAhead(model, squared_error, 2, 3).backward(span).loss.isfinite())
        gradients_of.append(gradients(model))
    assert all(gradient.isfinite().all() for gradient in gradients_of[1].values())
    assert any(not torch.equal(gradients_of[0][name], each) for name, each in gradients_of[1].items())


def test_online_estimators_get_rid_of_what_is_not_finite() -> None:
    core = LSTM(SIZE, SIZE).double()
    for estimator in (
        RTRL(core, squared_error),
        BPLambda(core, squared_error, learning_rate=0.1, trace_decay=0.9),
        SnAp1(core, squared_error),
    ):
        estimator.double().backward(make_span(4), make_state(core))
        pattern = estimator.pattern.clone() if isinstance(estimator, SnAp1) else None
        span = make_span(4)
        span.inputs[2, 1, 0] = math.nan
        estimator.backward(span, make_state(core))
        if isinstance(estimator, SnAp1):
            assert_identical(estimator.pattern, pattern)
        core.zero_grad()
        estimator.backward(make_span(4), make_state(core))
        assert all(gradient.isfinite().all() for gradient in gradients(core).values())
        assert all(buffer.isfinite().all() for buffer in estimator.buffers())


@pytest.mark.parametrize("kind", ["overlapping", "delayed"])
def test_steps_that_run_again_are_given_up_where_the_loss_is_not_finite(kind: str) -> None:
    """Else a later span, whose loss is finite, would have gradients that are not: the usual guard would pass it."""
    core = LSTM(SIZE, SIZE).double()
    estimator = TruncatedBPTT(core, squared_error, 5, every=2) if kind == "overlapping" else Delayed(synthetic(core))
    whole = make_span(14, is_first=[(6, 1)])  # the row begins anew with the span after
    whole.inputs[5, 1, 0] = math.nan
    state: State = make_state(core)
    for place, span in enumerate(whole.divide(2)):
        core.zero_grad()
        step = estimator.backward(span, state)
        state = step.state
        assert bool(step.loss.isfinite()) == (place != 2)
        assert place == 2 or all(gradient.isfinite().all() for gradient in gradients(core).values())
