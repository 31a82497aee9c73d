"""Mixed gradients are the pure ones at shares 0 and 1, and window by window as defined in between."""

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
    run_by_hand,
    squared_error,
    train_on,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.estimators import BPTT, GradientEstimator, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.schedules import Alternate, Bernoulli, Constant, Ramp, WarmRestarts
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.state import State, detach, floating_leaves, state_size, to_matrix

STEPS, WINDOW = 12, 2


def make_model(dropout: float = 0.2) -> LanguageModel:
    return make_language_model(LSTM(SIZE, SIZE, 2, dropout=dropout), dropout=dropout)


def make_synthetic(model: LanguageModel, **options: Any) -> SyntheticGradients:
    """As if it had learned: random weights, and a gate that lets them in."""
    torch.manual_seed(5)
    estimator = SyntheticGradients(
        WINDOW, model.synthesizer(3, hidden_size=4, rank=2, projection=3), **options
    ).double()
    for parameter in estimator.parameters():
        nn.init.normal_(parameter, std=0.5)
    estimator.shrinkage.dot.fill_(0.4)
    estimator.shrinkage.square.fill_(0.5)
    return estimator


SPANS = [
    make_text(STEPS, is_first=is_first, seed=seed) for seed, is_first in enumerate([None, [(0, 1), (4, 2)], None, None])
]


def results(estimator: GradientEstimator, model: LanguageModel, spans: list[Span] = SPANS) -> Any:
    torch.manual_seed(9)
    totals, steps = train_on(estimator, model, model.loss, spans, make_state(model))
    return totals, [(step.loss, step.state) for step in steps]


@pytest.mark.parametrize("parallel", [False, True])
def test_share_1_is_synthetic_to_the_bit(parallel: bool) -> None:
    model = make_model()
    mixed = Mixed(make_synthetic(model, parallel=parallel), Constant(1.0))
    found, trained = results(mixed, model), gradients(mixed.synthetic)
    pure = make_synthetic(model, parallel=parallel)
    assert_identical(found, results(pure, model))
    assert_identical(trained, gradients(pure))


@pytest.mark.parametrize("options", [{}, {"shuffle": True, "trace_decay": 0.5}])
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("real_window", [None, 2, 6])
def test_share_0_is_truncation_to_the_bit(real_window: int | None, parallel: bool, options: dict[str, Any]) -> None:
    model = make_model()
    mixed = Mixed(make_synthetic(model, parallel=parallel, **options), Constant(0.0), real_window=real_window)
    found = results(mixed, model)
    pure = BPTT() if real_window is None else TruncatedBPTT(real_window, parallel=parallel)
    assert_identical(found, results(pure, model))
    assert not any(gradient.any() for gradient in gradients(mixed).values())


@pytest.mark.parametrize("options", [{}, {"shuffle": True, "trace_decay": 0.5}])
@pytest.mark.parametrize("real_window", [None, 2, 6])
def test_so_it_is_but_for_rounding_while_the_synthesizer_learns(
    real_window: int | None, options: dict[str, Any]
) -> None:
    model = make_model(dropout=0.0)
    mixed = Mixed(
        make_synthetic(model, **options), Constant(0.0), real_window=real_window, learn_always=True,
        ground_every=1, ground_window=6,
    )  # fmt: skip
    found = results(mixed, model)
    assert_close(found, results(BPTT() if real_window is None else TruncatedBPTT(real_window), model))
    assert any(gradient.any() for gradient in gradients(mixed).values())


def test_what_the_synthesizer_predicts_while_it_learns_does_not_matter() -> None:
    model = make_model(dropout=0.0)
    mixed = Mixed(make_synthetic(model), Constant(0.0), learn_always=True)
    for parameter in mixed.parameters():
        nn.init.constant_(parameter, float("nan"))
    assert_close(results(mixed, model), results(BPTT(), model))


class Refusing(nn.Module):
    sees_errors, lookahead = True, 3

    def forward(self, *seen: object) -> Tensor:
        raise AssertionError("the synthesizer was asked")


def test_share_0_does_not_ask_the_synthesizer() -> None:
    model = make_model()
    results(Mixed(SyntheticGradients(WINDOW, Refusing()), Constant(0.0)), model)


@pytest.mark.parametrize(
    "schedule", [Alternate(WarmRestarts(2)), Alternate(WarmRestarts(1), first=1.0), Bernoulli(0.5, seed=1)]
)
def test_the_sources_take_turns_as_the_schedule_says(schedule: Any) -> None:
    model = make_model()
    mixed = Mixed(make_synthetic(model), schedule, real_window=6)
    found, trained = results(mixed, model), gradients(mixed.synthetic)
    model = make_model()
    synthetic, truncated = make_synthetic(model), TruncatedBPTT(6)
    shares = [schedule(update) for update in range(4)]
    assert set(shares) == {0.0, 1.0}

    class ByHand(GradientEstimator):
        def backward(self, model: Any, loss: Any, span: Span, state: State) -> Any:
            estimator = synthetic if shares.pop(0) else truncated
            return estimator.backward(model, loss, span, state)

    assert_identical(found, results(ByHand(), model))
    assert_identical(trained, gradients(synthetic))


def blended_by_hand(
    model: nn.Module, span: Span, state: State, injected: Tensor, carried: list[float]
) -> tuple[dict[str, Tensor], Tensor]:
    """Parameter gradients and targets, window after window from the last: what crosses boundary k is
    injected[k] + carried[k] x the target at k."""
    assert span.is_first is not None
    windows = []
    for start in range(0, STEPS, WINDOW):
        part = slice(start, start + WINDOW)
        total, states = run_by_hand(
            model, squared_error, Span(span.inputs[part], span.targets[part], span.is_first[part]), state
        )
        windows.append((total, floating_leaves(states[0]), states[-1]))
        state = detach(states[-1])
    names, parameters = zip(*model.named_parameters(), strict=True)
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    targets = [torch.zeros(ROWS, state_size(state)).double()]
    for (total, first, last), given, factor in reversed(list(zip(windows, injected, carried, strict=True))):
        objective = total + (to_matrix(last) * (given + factor * targets[0])).sum()
        found = torch.autograd.grad(objective, [*parameters, *first], materialize_grads=True)
        totals = [one + other for one, other in zip(totals, found, strict=False)]
        targets.insert(0, to_matrix(list(found[len(parameters) :])))
    return dict(zip(names, totals, strict=True)), torch.stack(targets[:-1])


@pytest.mark.parametrize("core", ["LSTM-2", "GRU-1", "nn.RNN-1", "own"])
@pytest.mark.parametrize(
    ("share", "real_window", "trace_decay"),
    [
        (0.3, None, 0.0), (0.7, 6, 0.0), (0.3, 2, 0.0), (0.0, None, 0.0), (1.0, 6, 0.0),
        (1.0, None, 0.6), (1.0, None, 1.0), (0.4, 6, 0.6), (0.4, 2, 0.6),
    ],
)  # fmt: skip
def test_in_between_both_cross_a_boundary(core: str, share: float, real_window: int | None, trace_decay: float) -> None:
    model = make_core(core)
    state = make_state(model)
    span = make_span(STEPS, is_first=[(4, 1)], is_last=torch.tensor([True, False, False]))
    count, boundaries, features = STEPS * ROWS, STEPS // WINDOW + 1, state_size(state)
    table = Table(boundaries * ROWS, features)
    synthetic = SyntheticGradients(
        WINDOW, table, trace_decay=trace_decay, remove_radial=False, shrinkage=False, parallel=True
    ).double()
    synthetic.mean_square.fill_(0.25)
    synthetic.updates.fill_(1000)
    model.zero_grad()
    synthetic.backward(model, squared_error, span, state, share=share, real_window=real_window)
    found = {name: gradient * count for name, gradient in gradients(model).items()}

    inside = torch.ones(boundaries, ROWS, dtype=torch.bool)
    inside[2, 1] = inside[-1, 0] = False
    predicted = table.values.detach()[:, 0].view(boundaries, ROWS, -1)
    injected = 0.5 * share * predicted * inside.unsqueeze(-1)
    injected[1:-1] *= 1 - trace_decay
    edges = range(WINDOW, STEPS + 1, WINDOW)
    carried = [share * trace_decay + (1 - share if edge % (real_window or STEPS) else 0) for edge in edges]
    expected, targets = blended_by_hand(model, span, state, injected[1:], carried)
    assert_close(found, expected)

    errors = table.values.grad
    assert errors is not None
    trained = inside[:-1]
    wanted = predicted[:-1] - errors[:-ROWS, 0].view_as(predicted[:-1]) * trained.sum() * features / 2
    assert_close((wanted * synthetic.mean_square.sqrt())[trained], targets[trained])


@pytest.mark.parametrize("core", ["LSTM-2", "GRU-1", "own"])
@pytest.mark.parametrize("way", ["share 0", "lambda 1, rows end"])
def test_gradients_with_lambda_1_are_the_real_ones(core: str, way: str) -> None:
    """Carried window by window, the model's gradients are those of `BPTT`."""
    model = make_core(core)
    state = make_state(model)
    span = make_span(STEPS, is_first=[(4, 1)], is_last=torch.ones(ROWS, dtype=torch.bool))
    table = Table((STEPS // WINDOW + 1) * ROWS, state_size(state))
    share, trace_decay = (0.0, 0.0) if way == "share 0" else (1.0, 1.0)
    model.zero_grad()
    synthetic = SyntheticGradients(WINDOW, table, trace_decay=trace_decay, shrinkage=False).double()
    synthetic.backward(model, squared_error, span, state, share=share)
    found = gradients(model)
    model.zero_grad()
    BPTT().backward(model, squared_error, span, state)
    assert_close(found, gradients(model))


def test_a_share_with_no_real_window_is_a_discount() -> None:
    model = make_model()
    mixed = Mixed(make_synthetic(model), Constant(0.4), real_window=WINDOW)
    assert_close(results(mixed, model), results(make_synthetic(model, discount=0.4), model))


def test_grounded_spans_are_those_of_a_longer_window() -> None:
    model = make_model()
    mixed = Mixed(make_synthetic(model), Constant(1.0), ground_every=3, ground_window=6)
    found, trained = results(mixed, model), gradients(mixed.synthetic)
    model = make_model()
    synthetic = make_synthetic(model)
    windows = [2, 2, 6, 2]

    class ByHand(GradientEstimator):
        def backward(self, model: Any, loss: Any, span: Span, state: State) -> Any:
            return synthetic.backward(model, loss, span, state, window=windows.pop(0))

    assert_identical(found, results(ByHand(), model))
    assert_identical(trained, gradients(synthetic))


def test_grounding_counts_the_spans_that_are_not_real() -> None:
    model = make_model()
    mixed = Mixed(make_synthetic(model), Alternate(WarmRestarts(1), first=1.0), ground_every=2, ground_window=6)
    found, trained = results(mixed, model), gradients(mixed.synthetic)
    model = make_model()
    synthetic = make_synthetic(model)
    windows = [2, None, 6, None]

    class ByHand(GradientEstimator):
        def backward(self, model: Any, loss: Any, span: Span, state: State) -> Any:
            window = windows.pop(0)
            if window is None:
                return BPTT().backward(model, loss, span, state)
            return synthetic.backward(model, loss, span, state, window=window)

    assert_identical(found, results(ByHand(), model))
    assert_identical(trained, gradients(synthetic))


@pytest.mark.parametrize(("real_window", "rounded"), [(None, None), (2, 4), (6, 8)])
def test_a_grounded_span_of_a_blend_rounds_its_real_window_up(real_window: int | None, rounded: int | None) -> None:
    model = make_model()
    mixed = Mixed(make_synthetic(model), Constant(0.4), real_window=real_window, ground_every=1, ground_window=4)
    found = results(mixed, model)
    synthetic = make_synthetic(make_model())

    class ByHand(GradientEstimator):
        def backward(self, model: Any, loss: Any, span: Span, state: State) -> Any:
            return synthetic.backward(model, loss, span, state, window=4, share=0.4, real_window=rounded)

    assert_identical(found, results(ByHand(), model))


@pytest.mark.parametrize("name", ["perceptron with a second head", "follower"])
def test_other_synthesizers_can_be_mixed(name: str) -> None:
    model = make_model()
    if name == "follower":
        synthetic = make_synthetic(model, follow_rate=0.5, follow_every=2)
    else:
        synthetic = SyntheticGradients(WINDOW, model.mlp_synthesizer(3, hidden_sizes=(8,), auxiliary=True)).double()
    mixed = Mixed(synthetic, Ramp(stop=3), ground_every=2, ground_window=6)
    (found, _), (expected, _) = results(mixed, model), results(BPTT(), make_model())
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert any(not torch.equal(found[key], expected[key]) for key in found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1.1}, r"share must be in \[0, 1\], got 1.1"),
        ({"window": 0}, "window must be at least 1 step, got 0"),
        ({"window": 4, "real_window": 6}, "real_window must be a multiple of the window, 4 steps, got 6"),
    ],
)
def test_a_span_of_its_own_kind_is_checked(options: dict[str, Any], message: str) -> None:
    model = make_model()
    with pytest.raises(ValueError, match=f"^{message}$"):
        make_synthetic(model).backward(model, model.loss, SPANS[0], make_state(model), **options)


def test_the_share_is_reported_and_time_counted_in_the_schedules_unit() -> None:
    model = make_model()
    mixed = Mixed(make_synthetic(model), Ramp(stop=2), updates_per_unit=2)
    torch.manual_seed(9)
    _, steps = train_on(mixed, model, model.loss, [*SPANS, SPANS[0]], make_state(model))
    assert [float(step.metrics["share"]) for step in steps] == [0, 0.25, 0.5, 0.75, 1.0]
    assert ["target_r2" in step.metrics for step in steps] == [False, True, True, True, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"real_window": 3}, "real_window must be a multiple of the window, 2 steps, got 3"),
        ({"real_window": 0}, "real_window must be a multiple of the window, 2 steps, got 0"),
        ({"ground_every": 3}, "ground_every and ground_window go together: give both or neither"),
        ({"ground_window": 3}, "ground_every and ground_window go together: give both or neither"),
        ({"ground_every": 0, "ground_window": 3}, "ground_every must be at least 1 span, got 0"),
        ({"ground_every": 3, "ground_window": 1}, "ground_window must be at least the window, 2 steps, got 1"),
        ({"updates_per_unit": 0}, "updates_per_unit must be at least 1, got 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Mixed(SyntheticGradients(WINDOW, nn.Identity()), Constant(), **options)


def test_a_schedule_that_gives_no_share_is_refused() -> None:
    model = make_model()
    with pytest.raises(ValueError, match=r"^a schedule must give shares in \[0, 1\], got 2 at update 0$"):
        results(Mixed(make_synthetic(model), lambda time: 2), model)
