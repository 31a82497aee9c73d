"""Synthetic gradients that come late: the same in sum as those that are run ahead, from what has been seen alone."""

import copy
import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from models import (
    CORES,
    ROWS,
    SIZE,
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

import sgrnn
from sgrnn.cores import LSTM
from sgrnn.estimators import Delayed, Step, SyntheticGradients, TruncatedBPTT
from sgrnn.span import Span
from sgrnn.state import State, map_state, state_size
from sgrnn.synthesizers import AdjointSynthesizer, Boundaries, MLPSynthesizer
from sgrnn.synthesizers.synthesizer import Predictions

AHEAD = 3


def make_synthetic(core: nn.Module, window: int, kind: str = "error", **options: Any) -> SyntheticGradients:
    """An estimator as if trained, with running means that stand still: they take in other spans at other times."""
    size = state_size(sgrnn.initial_state(core, 1))
    made: dict[str, Any] = {
        "error": lambda: sgrnn.ErrorSynthesizer(size, SIZE, SIZE, lookahead=AHEAD, hidden_size=4, rank=2),
        "adjoint": lambda: AdjointSynthesizer(size, SIZE, SIZE, window=window, hidden_size=4, rank=2),
        "perceptron": lambda: MLPSynthesizer(size, (4,), lookahead=AHEAD, feature_size=2 * SIZE),
    }
    estimator = SyntheticGradients(
        core, squared_error, window, synthesizer=made[kind](), ema_decay=1 - 1e-15, **options
    )  # fmt: skip
    as_if_trained(estimator, std=0.2)
    estimator.predictor.updates.fill_(1e15)
    estimator.reader.output_square.fill_(0.7)
    return estimator


def make_delayed(synthetic: SyntheticGradients, delay: int | None = None) -> Delayed:
    delayed = Delayed(synthetic, delay)
    delayed.observed.fill_(1e15)
    return delayed


def run_stream(estimator: Any, spans: list[Span], state: State) -> list[Step]:
    steps = []
    for span in spans:
        steps.append(estimator.backward(span, state))
        state = steps[-1].state
    return steps


def windows_of(whole: Span, window: int, lookahead: int = 0) -> list[Span]:
    """One after another; rows that begin in the next one are not marked as ended in the one before."""
    starts = range(0, whole.steps, window)
    spans = [whole.slice(start, start + window, AHEAD) for start in starts]
    return spans if lookahead else [span.with_future(None) for span in spans]


@pytest.mark.parametrize("kind", ["error", "perceptron"])
@pytest.mark.parametrize(("name", "window"), [*((name, 1) for name in CORES), ("LSTM-2", 3), ("own", 2)])
def test_in_sum_they_are_those_that_are_run_ahead(name: str, window: int, kind: str) -> None:
    """While no weight moves. The last windows of a stream, whose future has not been seen, are truncated."""
    count, late = 6, -(-AHEAD // window)
    whole = make_span((count + late) * window, is_first=[(2, 0), (4, 1), (2 * window, 2)])
    state = make_state(make_core(name))
    ahead = make_synthetic(make_core(name), window, kind)
    steps = run_stream(ahead, windows_of(whole, window, AHEAD)[:count], state)
    truncated = TruncatedBPTT(ahead.model, squared_error, window)
    steps += run_stream(truncated, windows_of(whole, window)[count:], steps[-1].state)

    delayed = make_delayed(make_synthetic(make_core(name), window, kind))
    late_steps = run_stream(delayed, windows_of(whole, window), state)
    assert_close(gradients(delayed.model), gradients(ahead.model))
    assert any(gradient.any() for gradient in gradients(ahead).values())
    assert_close(list(gradients(delayed).values()), list(gradients(ahead).values()))
    assert_close([step.loss for step in late_steps], [step.loss for step in steps])
    assert_close(late_steps[-1].state, steps[-1].state)


def test_nothing_is_seen_beyond_the_end_of_a_row() -> None:
    """Of a row that ends and whose next sequence goes on from its state, since no step is marked as a first."""
    steps, ends, row = 9, 3, 1
    whole, marked = make_span(steps), make_span(steps, is_first=[(ends + 1, row)])
    last = torch.zeros(ROWS, dtype=torch.bool)
    last[row] = True
    plain = windows_of(whole, 1)
    plain[ends] = replace(plain[ends], is_last=last)
    futures = [replace(one, future=other.future) for one, other in
               zip(plain, windows_of(marked, 1, AHEAD), strict=True)]  # fmt: skip
    state = make_state(make_core("LSTM-2"))
    ahead, delayed = make_synthetic(make_core("LSTM-2"), 1), make_delayed(make_synthetic(make_core("LSTM-2"), 1))
    middle = run_stream(ahead, futures[: steps - AHEAD], state)[-1].state
    run_stream(TruncatedBPTT(ahead.model, squared_error, 1), plain[steps - AHEAD :], middle)
    run_stream(delayed, plain, state)
    assert_close(gradients(delayed.model), gradients(ahead.model))
    assert_close(list(gradients(delayed).values()), list(gradients(ahead).values()))


def test_an_adjoint_synthesizer_carries_back_all_that_has_been_seen() -> None:
    """Window by window: what crosses the end of the first is what a span of all that are waited for lets cross it."""
    window, delay = 2, 6
    core, state = make_core("LSTM-1"), make_state(make_core("LSTM-1"))
    whole = make_span(window + delay, is_first=[(5, 1)])
    synthetic = make_synthetic(core, window, "adjoint")
    crossing = synthetic.look(whole.slice(0, delay, window), state).injected[:ROWS]
    delayed = make_delayed(synthetic, delay)
    step = run_stream(delayed, windows_of(whole, window)[:-1], state)[-1]
    core.zero_grad()
    delayed.backward(windows_of(whole, window)[-1], step.state)
    found = gradients(core)

    core.zero_grad()
    TruncatedBPTT(core, squared_error, window).backward(windows_of(whole, window)[-1], step.state)
    first = tuple(tensor.requires_grad_() for tensor in state)
    _, (hidden, cell) = core(whole.inputs[:window], first)
    at_end = torch.cat([hidden[0], cell[0]], dim=1)
    ((at_end * crossing).sum() / (window * ROWS)).backward()
    assert_close(found, gradients(core))


def test_without_a_prediction_it_is_truncation() -> None:
    core = make_core("GRU-2")
    synthetic = make_synthetic(core, 1)
    synthetic.discount = 0.0
    spans = windows_of(make_span(8), 1)
    steps = run_stream(Delayed(synthetic), spans, make_state(core))
    found = gradients(core)
    core.zero_grad()
    truncated = run_stream(TruncatedBPTT(core, squared_error, 1), spans, make_state(core))
    assert_close(found, gradients(core))
    assert_close([step.state for step in steps], [step.state for step in truncated])


@pytest.mark.parametrize("options", [{}, {"ahead": "targets"}, {"ahead": "targets", "run_ahead": 1}, {"run_ahead": 0}])
def test_nothing_is_known_from_targets_nor_run_ahead_where_all_has_been_seen(options: dict[str, Any]) -> None:
    """Whatever the estimator around which it is has for it: by default, with a text, that would be targets."""
    found: list[Any] = []
    of_the_model: dict[str, Any] = {"ahead": "model"}
    for given in (options, of_the_model):
        model, ran = make_language_model(), list[int]()
        synthetic = SyntheticGradients(model, model.loss, 1, synthesizer=model.synthesizer(AHEAD), **given).double()
        assert synthetic.reader.run == (AHEAD if given.get("ahead") == "model" else given.get("run_ahead", 0))
        as_if_trained(synthetic, std=0.2)

        def count(core: nn.Module, arguments: tuple[Any, ...], ran: list[int] = ran) -> None:
            ran.append(len(arguments[0]))

        with model.core.register_forward_pre_hook(count):
            steps = run_stream(Delayed(synthetic), windows_of(make_text(8), 1, AHEAD), make_state(model))
        assert ran == [1] * 8
        found.append(
            [gradients(model), gradients(synthetic), [(step.loss, step.state, step.metrics) for step in steps]]
        )
    assert_identical(*found)


def test_the_unit_of_output_gradients_is_that_of_the_steps_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those with an answer: the others say nothing of it."""
    core, unanswered = make_core("LSTM-1"), (3, 5)
    place, shown, squares = 0, list[Tensor](), list[Tensor]()

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(outputs, targets) * (place not in unanswered)

    delayed = Delayed(SyntheticGradients(core, loss, 1, lookahead=AHEAD))
    predict = delayed.synthetic.synthesizer.predict

    def watched(at: Boundaries, *rest: Any) -> Predictions:
        assert at.lookahead is not None
        assert at.lookahead.output_gradients is not None
        shown.append(at.lookahead.output_gradients[-1, ROWS:])  # the newest step, at the boundary that it is seen from
        return predict(at, *rest)

    monkeypatch.setattr(delayed.synthetic.synthesizer, "predict", watched)
    state: State = make_state(core)
    for place, span in enumerate(windows_of(make_span(9), 1)):
        outputs = core(span.inputs, state)[0].detach().requires_grad_()
        (own,) = torch.autograd.grad(loss(outputs, span.targets).sum(), outputs)
        state = delayed.backward(span, state).state
        if place >= AHEAD:
            assert_close(shown[-1], (own[0] / torch.stack(squares).mean().sqrt()).to(shown[-1]), torch.float32)
        if place not in unanswered:
            squares.append(own.square().mean())
    assert len(shown) == 9 - AHEAD


def test_it_goes_on_to_the_bit_and_keeps_no_more_than_it_waits_for() -> None:
    spans = windows_of(make_span(14, is_first=[(6, 0)]), 1)
    first = make_delayed(make_synthetic(make_core("own"), 1))
    state = run_stream(first, spans[:8], make_state(first.model))[-1].state
    assert len(first.waiting) == AHEAD
    file = io.BytesIO()
    torch.save({"own": first.state_dict(), "core": first.model.state_dict(), "state": state}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = make_delayed(make_synthetic(make_core("own", seed=5), 1))
    second.load_state_dict(saved["own"])
    second.model.load_state_dict(saved["core"])
    copied = copy.deepcopy(first)
    results = []
    for each, given in ((second, saved["state"]), (copied, state), (first, state)):
        each.model.zero_grad()
        each.zero_grad()
        steps = run_stream(each, spans[8:], given)
        results.append(
            [gradients(each.model), gradients(each), [(step.loss, step.state, step.metrics) for step in steps]]
        )
    assert_identical(results[0], results[2])
    assert_identical(results[1], results[2])


def test_a_caller_may_keep_the_state_in_one_place() -> None:
    spans = windows_of(make_span(24), 2)
    results = []
    for kept in (False, True):
        delayed = make_delayed(make_synthetic(core := make_core("LSTM-1"), 2))
        state = make_state(core)
        for span in spans:
            step = delayed.backward(span, state)
            state = map_state(Tensor.copy_, state, step.state) if kept else step.state
        results.append([gradients(core), gradients(delayed)])
    assert_identical(results[0], results[1])


@pytest.mark.parametrize("what", ["another state", "the same written over", "other rows", "a shorter span"])
def test_what_waits_is_given_up_where_something_new_begins(what: str) -> None:
    spans, others = windows_of(make_span(8), 2), windows_of(make_span(8, seed=7), 2)
    delayed = Delayed(make_synthetic(core := make_core("LSTM-1"), 2), 2)
    state = run_stream(delayed, spans[:3], make_state(core))[-1].state
    if what == "another state":
        state = make_state(core, seed=9)
    elif what == "the same written over":
        state = map_state(Tensor.zero_, state)
    elif what == "other rows":
        others = [span.rows(0, 2) for span in others]
        state = tuple(tensor[:, :2] for tensor in state)
    else:
        state = delayed.backward(others[0].slice(0, 1, 0), state).state
    core.zero_grad()
    delayed.backward(others[1], state)
    found = gradients(core)
    core.zero_grad()
    TruncatedBPTT(core, squared_error, 2).backward(others[1], state)
    assert_close(found, gradients(core))


def test_a_loss_that_is_not_finite_is_the_end_of_its_row_for_as_long_as_it_is_remembered() -> None:
    """For synthetic gradients; the model's own is what plain back-propagation has, for the usual guard to find."""
    whole = make_span(10)
    whole.targets[4, 1] = torch.nan
    core = make_core("LSTM-1")
    delayed = Delayed(make_synthetic(core, 1))
    state: State = make_state(core)
    for step, span in enumerate(windows_of(whole, 1)):
        core.zero_grad()
        delayed.zero_grad()
        state = delayed.backward(span, state).state
        assert step == 4 or all(bool(each.isfinite().all()) for each in gradients(core).values())
        assert all(bool(each.isfinite().all()) for each in gradients(delayed).values())


def test_refusals() -> None:
    core = make_core("LSTM-2")
    with pytest.raises(TypeError, match="synthetic must be SyntheticGradients, got a TruncatedBPTT"):
        Delayed(TruncatedBPTT(core, squared_error, 1))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"trace_decay must be 0 where a span is one window, got 0\.5"):
        Delayed(make_synthetic(core, 1, trace_decay=0.5))
    with pytest.raises(ValueError, match="delay must be at least 1 step, got 0"):
        Delayed(make_synthetic(core, 1), 0)
    span, state = make_span(1), make_state(core)
    dropping = LSTM(SIZE, SIZE, 2, dropout=0.5).double()
    with pytest.raises(ValueError, match="a window runs again after its delay, beside another, so that it must be"):
        Delayed(make_synthetic(dropping, 1)).backward(span, state)
    with pytest.raises(ValueError, match="inputs must have no graph, since their window runs again"):
        Delayed(make_synthetic(core, 1)).backward(Span(span.inputs.requires_grad_() * 1, span.targets), state)
