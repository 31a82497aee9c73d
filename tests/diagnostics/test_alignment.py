"""Metrics of boundaries: on a linear core equal to their closed form, and as they must be for known predictions."""

from dataclasses import replace

import pytest
import torch
from known import Oracle, Table, Zero, bare, linear_blocks, linear_text, oracle
from models import (
    ROWS,
    SIZE,
    LinearCore,
    half_squared_error,
    make_core,
    make_language_model,
    make_span,
    make_state,
    make_text,
    squared_error,
)
from tolerances import assert_close, assert_identical

from sgrnn.cores.dropout import Dropout
from sgrnn.diagnostics import (
    INJECTED,
    PREDICTED,
    Alignment,
    estimator_horizon,
    measure_alignment,
    state_parts,
    true_horizon,
)
from sgrnn.estimators import (
    BPTT,
    BoundaryGradients,
    GradientEstimator,
    Step,
    SyntheticGradients,
    TruncatedBPTT,
)
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.schedules import Constant
from sgrnn.span import Span
from sgrnn.state import State
from sgrnn.synthesizers import Lookahead

LAGS = [1, 2, 3, 5, 8]
ALL_END = torch.ones(ROWS, dtype=torch.bool)


def test_on_a_linear_core_every_metric_equals_its_closed_form() -> None:
    core = LinearCore()
    (span, *_), state = linear_text(core, number=1, steps=6, beyond=8)
    table = Table(4 * 4, SIZE)
    estimator = bare(core, half_squared_error, 2, table)
    alignment = measure_alignment(estimator, [span], state, lags=LAGS)
    blocks = linear_blocks(core, span, state, [2, 4, 6], LAGS)
    predicted = table.values[4:, 0].detach()
    truth = blocks.cumsum(dim=0)
    dots, powers = (truth * predicted).sum(dim=(1, 2)), truth.square().sum(dim=(1, 2))
    assert_close(alignment.cosine().value[0], dots / (predicted.norm() * powers.sqrt()))
    assert_close(alignment.r2().value[0], 1 - (truth - predicted).square().sum(dim=(1, 2)) / powers)
    assert_close(alignment.norm_ratio().value[0], predicted.norm() / powers.sqrt())
    sizes = torch.tensor([1.0, 1, 1, 2, 3], dtype=torch.float64)
    assert_close(alignment.norms().value[0], (blocks.square().sum(dim=(1, 2)) / 12 / sizes).sqrt())
    terms = blocks.flatten(1)
    assert_close(
        alignment.share_by_lag().value[0], torch.linalg.lstsq(terms.T, predicted.flatten()[:, None]).solution[:, 0]
    )
    assert alignment.cosine().error.isnan().all(), "of one span there is no standard error"


@pytest.mark.parametrize("core", ["LSTM-2", "own"])
def test_an_oracle_scores_one(core: str) -> None:
    model = make_core(core)
    spans = make_span(12, is_last=ALL_END).divide(4)
    estimator = oracle(model, squared_error, 2, steps=12)
    alignment = measure_alignment(estimator, spans, make_state(model), lags=[12])
    ones = torch.ones_like(alignment.cosine().value)
    for of in (INJECTED, PREDICTED):
        for figure in (alignment.cosine(of), alignment.r2(of), alignment.norm_ratio(of), alignment.share_by_lag(of)):
            assert_close(figure.value, ones)
            assert figure.error.abs().max() < 1e-6


def test_an_oracle_of_few_steps_scores_one_at_its_own_horizon_and_less_beyond() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=20, steps=4, beyond=8)
    estimator = oracle(core, half_squared_error, 4, steps=3)
    alignment = measure_alignment(estimator, spans, state, lags=LAGS)
    r2 = alignment.r2().value[0]
    assert_close(r2[2], torch.ones((), dtype=torch.float64))
    assert all(float(each) < 1 - 1e-4 for place, each in enumerate(r2) if place != 2)
    assert_close(alignment.share_by_lag().value[0], torch.tensor([1.0, 1, 1, 0, 0], dtype=torch.float64))
    assert float(estimator_horizon(alignment, 1 - 1e-6).value) == pytest.approx(3, abs=1e-3)
    assert float(true_horizon(alignment).value) > 3


def test_a_synthesizer_of_zeros_scores_zero_as_truncation_does() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=3, steps=4, beyond=8)
    for estimator in (
        bare(core, half_squared_error, 2, Zero()),
        TruncatedBPTT(core, half_squared_error, 2),
        BPTT(core, half_squared_error),
    ):
        alignment = measure_alignment(estimator, spans, state, lags=LAGS)
        for figure in (alignment.cosine(), alignment.r2(), alignment.norm_ratio(), alignment.share_by_lag()):
            assert not figure.value.any()
        assert float(estimator_horizon(alignment).value) == 0


def test_shuffled_predictions_score_about_zero_or_below() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=20, steps=4, beyond=8, rows=50)
    estimator = oracle(core, half_squared_error, 2, steps=8, shuffle=True)
    alignment = measure_alignment(estimator, spans, state, lags=[8])
    assert abs(float(alignment.cosine().value[0, 0])) < 0.1
    assert float(alignment.r2().value[0, 0]) < 0
    assert_close(
        alignment.r2(PREDICTED).value[0], torch.ones(1, dtype=torch.float64)
    )  # before they were shuffled they were right


def test_nothing_is_expected_from_beyond_the_start_of_another_sequence() -> None:
    is_first = [(0, 0), (1, 1), (4, 0), (4, 2), (5, 1), (11, 0)]  # at the ends of spans and inside
    model = make_core("LSTM-1")
    spans = make_span(12, is_first=is_first, is_last=ALL_END).divide(4)
    estimator = oracle(model, squared_error, 1, steps=1)
    alignment = measure_alignment(estimator, spans, make_state(model), lags=[1])
    assert_close(alignment.r2().value, torch.ones_like(alignment.r2().value))
    closed = len({(step, row) for step, row in is_first if step > 0})
    assert float(alignment.counts.sum()) == 12 * ROWS - ROWS - closed


class Ones(GradientEstimator):
    """Predicts and injects ones at every boundary, those that no sequence crosses too."""

    window = 2

    def backward(self, span: Span, state: State = None) -> Step:
        raise NotImplementedError

    def look(self, span: Span, state: State = None) -> BoundaryGradients:
        zeros = super().look(span, state)
        return replace(zeros, predicted=zeros.predicted + 1, injected=zeros.injected + 1)


def test_rows_that_end_are_measured_as_if_nothing_followed() -> None:
    core, state = LinearCore(), torch.randn(ROWS, SIZE, generator=torch.Generator().manual_seed(0)).double()
    span = make_span(4, is_last=torch.tensor([True, False, True]), future=make_span(4, seed=4))

    def products(span: Span, state: torch.Tensor) -> torch.Tensor:
        return measure_alignment(Ones(core, half_squared_error), [span], state, lags=[1, 4]).products

    by_row = [span.rows(row, row + 1) for row in range(ROWS)]
    alone = [replace(each, future=None) if each.is_last else each for each in by_row]
    expected = sum(products(each, state[row : row + 1]) for row, each in enumerate(alone))
    assert_close(products(span, state), expected)
    assert float(products(span, state)[0, 0, PREDICTED, PREDICTED]) == (ROWS + 1) * SIZE


def test_parts_are_layers_of_hidden_and_cell() -> None:
    model = make_core("LSTM-2")
    state = make_state(model)
    assert state_parts(state) == {
        "all": slice(0, 12), "hidden 1": slice(0, 3), "hidden 2": slice(3, 6), "cell 1": slice(6, 9),
        "cell 2": slice(9, 12),
    }  # fmt: skip
    assert list(state_parts(make_state(make_core("GRU-1")))) == ["all", "hidden"]
    assert list(state_parts(make_state(make_core("own")))) == ["all", "fast", "slow"]
    assert list(state_parts([torch.zeros(ROWS, 2)] * 3)) == ["all", "tensor 1", "tensor 2", "tensor 3"]
    assert list(state_parts(make_state(make_core("hierarchy 1, 4")))) == [
        "all", "messages", "summaries", "slow hidden", "slow cell", "fast hidden", "fast cell"
    ]  # fmt: skip
    assert list(state_parts(make_state(make_core("hierarchy 1, 2, 3")))) == [
        "all", "messages 1", "messages 2", "summaries 1", "summaries 2", "slow 1", "slow 2", "fast"
    ]  # fmt: skip


def test_parts_are_measured_apart() -> None:
    model = make_core("LSTM-1")
    span = make_span(6, is_last=ALL_END)

    class HiddenAlone(Oracle):
        def forward(self, state: State, lookahead: Lookahead | None = None) -> torch.Tensor:
            gradient = super().forward(state, lookahead)
            gradient[..., SIZE:] = 0
            return gradient

    estimator = bare(model, squared_error, 1, HiddenAlone(model, squared_error, steps=6))
    alignment = measure_alignment(estimator, [span], make_state(model), lags=[6])
    r2 = dict(zip(alignment.parts, alignment.r2().value[:, 0].tolist(), strict=True))
    assert r2["hidden"] == pytest.approx(1)
    assert r2["cell"] == 0
    assert 0 < r2["all"] < 1


def test_estimator_model_gradients_and_chance_are_left_as_they_were() -> None:
    model = make_language_model(dropout=0.5)
    estimator = SyntheticGradients(model, model.loss, 2, synthesizer=model.synthesizer(3), shuffle=True).double()
    spans = make_text(12, is_last=ALL_END).divide(4)
    state = make_state(model)
    estimator.backward(spans[0], state)
    before = {name: value.clone() for name, value in estimator.state_dict().items()}
    dropped = [module.p for module in model.modules() if isinstance(module, Dropout)]
    gradients = [each.grad.clone() for each in [*model.parameters(), *estimator.parameters()] if each.grad is not None]
    random = torch.get_rng_state()
    first = measure_alignment(estimator, spans, state, lags=[2])
    again = measure_alignment(estimator, spans, state, lags=[2])
    assert_identical(first.products[:, :, 2:, 2:], again.products[:, :, 2:, 2:])  # nothing was dropped out
    assert_identical(dict(estimator.state_dict()), before)
    assert_identical(
        [each.grad for each in [*model.parameters(), *estimator.parameters()] if each.grad is not None], gradients
    )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.p for module in model.modules() if isinstance(module, Dropout)] == dropped
    assert 0.5 in dropped


def test_what_is_looked_at_is_what_a_backward_pass_injects() -> None:
    """The first window of a span learns from what is injected at its end alone, if its own loss is zero."""
    model = make_language_model()
    for make in (model.synthesizer, model.mlp_synthesizer, lambda steps: model.adjoint_synthesizer(2)):
        estimator = SyntheticGradients(model, model.loss, 2, synthesizer=make(2)).double()
        with torch.no_grad():
            for parameter in estimator.parameters():
                parameter.copy_(torch.randn_like(parameter) / 2)
        estimator.predictor.shrinkage.dot.fill_(0.7)
        estimator.predictor.shrinkage.square.fill_(1.0)
        span, state = make_text(4), make_state(model)
        crossing = estimator.look(span, state)
        step = estimator.backward(span, state)
        assert_close(crossing.final_state, step.state)
        assert crossing.predicted.shape == (3 * ROWS, 12)
        table = Table(3 * ROWS, 12)
        again = bare(model, model.loss, 2, table)
        with torch.no_grad():
            table.values[ROWS:, 0] = crossing.injected
        expected = [each.grad for each in model.parameters()]
        model.zero_grad()
        again.backward(span, state)
        assert_close([each.grad for each in model.parameters()], expected)
        model.zero_grad()


def test_of_mixed_it_is_the_synthetic_part() -> None:
    model = make_core("LSTM-1")
    synthetic = oracle(model, squared_error, 2, steps=8)
    spans = make_span(8, is_last=ALL_END).divide(4)
    mixed = Mixed(synthetic, Constant(0.0))
    alignment = measure_alignment(mixed, spans, make_state(model), lags=[8])
    assert_close(alignment.r2().value, torch.ones_like(alignment.r2().value))


def by_lag(*terms: float) -> Alignment:
    """A single state with independent terms of these squares, of which the first half is predicted as it is."""
    squares = torch.tensor(terms, dtype=torch.float64)
    predicted = squares * (torch.arange(len(terms)) < len(terms) / 2)
    products = torch.zeros(2, 1, 2 + len(terms), 2 + len(terms), dtype=torch.float64)
    products[:, 0, 2:, 2:] = squares.diag()
    for of in (0, 1):
        products[:, 0, of, 2:] = products[:, 0, 2:, of] = predicted
        products[:, 0, of, of] = predicted.sum()
    return Alignment(list(range(1, len(terms) + 1)), ["all"], products, torch.ones(2))


def test_the_horizon_is_where_the_share_is_reached() -> None:
    alignment = by_lag(4, 3, 2, 1)
    assert true_horizon(alignment, 0.7).value == pytest.approx(2)
    assert true_horizon(alignment, 0.8).value == pytest.approx(2.5)  # between two lags
    assert true_horizon(alignment, 1.0).value == pytest.approx(4)
    assert estimator_horizon(alignment, 4 / 7).value == pytest.approx(1)
    assert estimator_horizon(alignment, 1.0).value == pytest.approx(2)
    assert_close(alignment.share_by_lag().value, torch.tensor([[1.0, 1, 0, 0]], dtype=torch.float64))
    assert_close(alignment.r2().value[0, -1], torch.tensor(0.7, dtype=torch.float64))


def test_what_cannot_be_measured_is_refused() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=1, steps=4, beyond=8)
    alone = [Span(spans[0].inputs, spans[0].targets)]
    for chosen, lags, message in (
        ([], [2], "spans must be at least one, got none"),
        (spans, [2, 1], r"lags must be at least 1 step and increase, got \[2, 1\]"),
        (spans, [0], r"lags must be at least 1 step and increase, got \[0\]"),
        (spans, [9], "a span needs 9 steps of future, or rows that end, .* of 9 steps .*; got 8"),
        (alone, [1], "a span needs 1 steps of future, or rows that end, .*; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            measure_alignment(TruncatedBPTT(core, half_squared_error, 2), chosen, state, lags=lags)


def test_standard_errors_shrink_with_the_root_of_the_number_of_spans() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=150, steps=2, beyond=2)
    estimator = oracle(core, half_squared_error, 2, steps=1)
    few, many = (
        measure_alignment(estimator, spans[:number], state, lags=[2], groups=15).cosine() for number in (15, 150)
    )
    assert 1.5 < float(few.error[0, 0] / many.error[0, 0]) < 6, "about the root of ten"
    assert abs(float(few.value[0, 0] - many.value[0, 0])) < 4 * float(few.error[0, 0])
