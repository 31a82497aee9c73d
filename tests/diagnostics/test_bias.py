"""The systematic error of parameter gradients: its closed form on a linear core, and none for an oracle."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from known import Zero, bare, linear_text, oracle
from models import (
    ROWS,
    SIZE,
    LinearCore,
    as_if_trained,
    half_squared_error,
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
from sgrnn.diagnostics import Bias, measure_bias, stretches
from sgrnn.estimators import (
    BPTT,
    ControlVariate,
    Delayed,
    ExactAhead,
    GradientEstimator,
    Mixed,
    SyntheticGradients,
    TruncatedBPTT,
)
from sgrnn.estimators.online import RTRL
from sgrnn.estimators.schedules import Alternate, Constant, WarmRestarts
from sgrnn.sequences import spans as padded
from sgrnn.span import Span

ALL_END = torch.ones(ROWS, dtype=torch.bool)


def episodes(number: int, steps: int, span: int) -> list[Span]:
    """So many equal episodes that start and end all rows, cut into spans."""
    whole = make_span(steps, is_first=[(0, row) for row in range(ROWS)], is_last=ALL_END)
    return [part for _ in range(number) for part in whole.divide(span)]


def linear_gradient(core: LinearCore, episode: Span, reach: Sequence[int]) -> Tensor:
    """Of the mean loss: the sum over steps t and lags j below the reach of t of (A^T)^j d_{t+j} s_{t-1}^T."""
    A = core.weight.detach()
    states = [torch.zeros(ROWS, SIZE, dtype=A.dtype)]
    for step in episode.inputs:
        states.append(states[-1] @ A.T + step)
    total = torch.zeros_like(A)
    for t in range(episode.steps):
        for j in range(min(reach[t], episode.steps - t)):
            error = states[t + j + 1] - episode.targets[t + j]
            total += (error @ torch.matrix_power(A, j)).T @ states[t]
    return total / (episode.steps * ROWS)


def test_on_a_linear_core_every_metric_equals_its_closed_form() -> None:
    core = LinearCore()
    spans = episodes(number=4, steps=12, span=5)  # of 5, 5 and 2 steps
    windows = [1, 2, 3, 4, 6, 12]
    state, truncated = torch.zeros(ROWS, SIZE).double(), TruncatedBPTT(core, half_squared_error, 3)
    bias = measure_bias(truncated, spans, state, horizon=12, windows=windows)
    episode = Span.join(spans[:3])
    long = linear_gradient(core, episode, [12] * 12)
    assert_close(bias.reference[0], (long * long).sum().expand(4, 4).contiguous())
    reaches = [[window - t % window for t in range(12)] for window in windows]
    for place, reach in enumerate([[3, 2, 1, 2, 1, 3, 2, 1, 2, 1, 2, 1], *reaches]):  # its windows end with a span
        gradient = linear_gradient(core, episode, reach)
        error = (gradient - long).norm() / long.norm()
        assert float(bias.relative_error().value[place, 0]) == pytest.approx(float(error), abs=1e-7)
        cosine = (gradient * long).sum() / (gradient.norm() * long.norm())
        assert_close(bias.cosine().value[place, 0], cosine)
    assert bias.contenders == ["estimator", *(f"T={window}" for window in windows)]
    assert bias.tensors == ["all", "weight"]
    assert bias.relative_error().error.abs().max() < 1e-6, "equal episodes have no spread"
    assert bias.equivalent_window_text() == "worth T=2.3 ± 0.0 (between 2 and 3)"


def test_a_worth_between_windows_is_not_rounded_up_and_found_by_looking_there() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=30, steps=24, beyond=24)

    truncated = TruncatedBPTT(core, half_squared_error, 8)

    def measured(windows: list[int]) -> Bias:
        return measure_bias(truncated, spans, state, horizon=24, windows=windows)

    bias = measured([1, 2, 3, 6, 12, 24])
    value, error = bias.equivalent_window()
    assert float(value) == pytest.approx(8, abs=float(error))
    assert bias.equivalent_window_text() == f"worth T={float(value):.1f} ± {float(error):.1f} (between 6 and 12)"
    assert bias.windows_around() == [7, 8, 9, 10], "of five the four that are as far apart in ratio"
    joined = bias.joined(measured(bias.windows_around(5)))
    assert joined.windows == [1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 24]
    whole = measured(joined.windows)
    assert_identical([joined.errors, joined.mixed], [whole.errors, whole.mixed])
    assert joined.equivalent_window_text() == "worth T=8.0 ± 0.0"
    assert joined.windows_around() == []
    with pytest.raises(ValueError, match="other must be of the same spans and groups, and of other windows"):
        joined.joined(bias)


def made_up(errors: list[list[float]]) -> Bias:
    """Of one parameter in as many groups as each contender has errors; the estimator's first, then windows 1, 5, 10."""
    roots = torch.tensor(errors, dtype=torch.float64)
    groups = roots.shape[1]
    grams = (roots.unsqueeze(2) * roots.unsqueeze(1)).unsqueeze(1)
    reference = torch.ones(1, groups, groups, dtype=torch.float64)
    return Bias(["all"], [1, 5, 10], reference, grams, torch.zeros_like(grams), torch.ones(1).double(), 4, 8)


def test_the_equivalent_window_in_words() -> None:
    for error, text in (
        (0.2, "worth T=5.0 ± 0.0"),
        (0.15, "worth T=7.1 ± 0.0 (between 5 and 10)"),
        (0.6, "worth less than T=1"),
        (0.05, "worth more than T=10"),
    ):
        assert made_up([[error] * 3, [0.5] * 3, [0.2] * 3, [0.1] * 3]).equivalent_window_text() == text


def test_an_estimator_at_an_end_of_the_windows_is_outside_only_by_more_than_noise_and_rounding() -> None:
    first, last = [0.6, 0.5, 0.4], [0.12, 0.1, 0.08]
    for errors, outside in (
        ([each + 1e-8 for each in first], None),
        ([each - 1e-8 for each in last], None),
        ([0.62, 0.49, 0.4], None),
        ([0.125, 0.09, 0.08], None),
        ([0.3, -0.3, 0.0], None),  # which counts as 0
        ([each + 0.01 for each in first], "less"),
        ([each - 0.01 for each in last], "more"),
    ):
        bias = made_up([errors, first, [0.2] * 3, last])
        assert bias.outside() == outside
        place = 1 if errors[0] > 0.3 else 10
        value, error = bias.equivalent_window()
        assert not (error > 0.49 * value), "which is known"
        assert (f"worth {outside} than T={place}" if outside else "worth T=") in bias.equivalent_window_text()


@pytest.mark.parametrize("window", [1, 6])
def test_plain_truncation_at_an_end_of_the_windows_is_worth_its_own_in_single_precision(window: int) -> None:
    """Windows one by one and all at once add up in another order, and round apart."""
    spans = [
        Span(span.inputs.float(), span.targets.float(), span.is_first, span.is_last)
        for span in episodes(number=4, steps=6, span=6)
    ]
    for seed in (0, 2, 3):  # with which truncation gets better with T
        model = make_core("LSTM-1", seed).float()
        estimator = SyntheticGradients(model, squared_error, window, discount=0.0, lookahead=2)
        bias = measure_bias(estimator, spans, initial_state(model, ROWS), horizon=6, windows=[1, 2, 6])
        assert bias.outside() is None
        assert bias.equivalent_window_text() == f"worth T={window}.0 ± 0.0"


def test_a_bias_shows_after_as_many_updates_as_bring_the_noise_down_to_it() -> None:
    """The noise of one update is as large as the reference; that of the mean of n falls with the root of n."""
    bias = made_up([[0.2] * 3, [0.5] * 3, [0.1] * 3, [2.0] * 3])
    assert bias.updates_to_show().flatten().tolist() == pytest.approx([25, 4, 100, 0.25])


def test_what_is_not_known_is_said_so() -> None:
    wild = made_up([[0.6, 0.1, 0.01], [0.5] * 3, [0.2] * 3, [0.1] * 3])
    value, error = wild.equivalent_window()
    assert 2 * error >= value
    assert wild.equivalent_window_text() == (
        f"worth T={float(value):.1f} ± {float(error):.1f} (which is not known from so few spans: take more)"
    )
    few = made_up([[0.15, 0.15], [0.5] * 2, [0.2] * 2, [0.1] * 2])
    assert few.equivalent_window_text() == "worth T=7.1 (which is not known from so few spans: take more)"


def test_a_cosine_that_noise_takes_beyond_one_counts_as_one_and_is_told() -> None:
    """r and r + d in two groups: <r_1, r_2> = 1, and of r + d 0.5, and across 0.9, which no vectors alone have."""
    gram = torch.ones(1, 2, 2, dtype=torch.float64)
    mixed, errors = -0.1 * gram, -0.3 * gram
    bias = Bias(["all"], [], gram, errors[None], mixed[None], torch.ones(1).double(), 4, 8)
    assert float(bias.cosine().value) == 1
    assert bias.cosine_outside().tolist() == [[True]]
    exact = Bias(["all"], [], gram, 0 * errors[None], 0 * mixed[None], torch.ones(1).double(), 4, 8)
    assert float(exact.cosine().value) == 1
    assert exact.cosine_outside().tolist() == [[False]]
    nothing = Bias(["all"], [], gram, gram[None], -gram[None], torch.ones(1).double(), 4, 8)
    assert nothing.cosine().value.isnan().all(), "the mean gradient is zero"


def test_the_noise_is_that_of_one_update() -> None:
    """Two kinds of updates by turns: each lies half their difference away from the mean."""
    core = LinearCore()
    spans = [
        Span(span.inputs * factor, span.targets, span.is_first, span.is_last)
        for span, factor in zip(episodes(number=8, steps=4, span=4), [1.0, 2.0] * 4, strict=True)
    ]
    state = torch.zeros(ROWS, SIZE).double()
    bias = measure_bias(BPTT(core, half_squared_error), spans, state, horizon=4, groups=4)
    one, two = (linear_gradient(core, span, [4] * 4) for span in spans[:2])
    mean = (one + two) / 2
    expected = (one - two).norm() / 2 / mean.norm()
    assert_close(bias.noise_ratio(), expected.expand(2).contiguous())
    assert float(bias.relative_error().value[0, 0]) == 0
    assert bias.updates_to_show()[0, 0] == torch.inf


def test_spans_that_are_left_over_count_for_nothing() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=5, steps=3, beyond=6)
    bias, whole = (measure_bias(BPTT(core, half_squared_error), each, state, horizon=6) for each in (spans, spans[:4]))
    assert bias.updates == whole.updates == 4
    assert_identical(bias.noise, whole.noise)
    assert bias.noise[0] > 0


@pytest.mark.parametrize(("core", "window"), [("LSTM-2", 1), ("hierarchy 1, 4", 3), ("own", 1)])
def test_an_oracle_has_no_error(core: str, window: int) -> None:
    model = make_core(core)
    estimator = oracle(model, squared_error, window, steps=12)
    spans = episodes(number=3, steps=12, span=4)
    bias = measure_bias(estimator, spans, make_state(model), horizon=12, windows=[1, 12])
    assert bias.relative_error().value[0].max() < 1e-7
    assert_close(bias.cosine().value[0, 0], torch.ones((), dtype=torch.float64))
    assert bias.relative_error().value[1, 0] > 0.01
    assert bias.relative_error().value[2, 0] < 1e-7, "a window as long as the episodes has none either"
    assert bias.equivalent_window_text().startswith("worth")


def test_a_synthesizer_of_zeros_is_worth_its_window() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=30, steps=6, beyond=12)
    bias = measure_bias(bare(core, half_squared_error, 2, Zero()), spans, state, horizon=12, windows=[1, 2, 3, 6, 12])
    assert_close(bias.relative_error().value[0], bias.relative_error().value[2])
    assert float(bias.equivalent_window().value) == pytest.approx(2)


def test_the_reference_sees_as_far_beyond_a_stretch_as_it_is_told() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=2, steps=3, beyond=5, rows=ROWS)
    bias = measure_bias(BPTT(core, half_squared_error), spans, state, horizon=3)
    A = core.weight.detach()
    by_span = []
    for span in spans:
        assert span.future is not None
        inputs, targets = torch.cat([span.inputs, span.future.inputs]), torch.cat([span.targets, span.future.targets])
        leaf = A.clone().requires_grad_()
        s = after = state
        losses = torch.zeros((), dtype=A.dtype)
        for step in range(6):
            s = s @ (leaf if step < 3 else A).T + inputs[step]
            losses = losses + half_squared_error(s, targets[step]).sum()
            if step == 2:
                after = s.detach()
        (gradient,) = torch.autograd.grad(losses, leaf)
        by_span.append(gradient / (3 * ROWS))
        state = after
    assert_close(bias.reference[1, 0, 1], (by_span[0] * by_span[1]).sum())


def test_noise_alone_is_not_taken_for_bias() -> None:
    """Predictions in the wrong rows have no mean: they are as biased as truncation, however noisy."""
    core = LinearCore()
    spans, state = linear_text(core, number=120, steps=1, beyond=10)
    noisy = oracle(core, half_squared_error, 1, steps=10, shuffle=True, remove_mean=True)
    truncated = TruncatedBPTT(core, half_squared_error, 1)
    bias, plain = (measure_bias(estimator, spans, state, horizon=10) for estimator in (noisy, truncated))
    difference = float(bias.relative_error().value[0, 0] - plain.relative_error().value[0, 0])
    assert abs(difference) < 3 * float(bias.relative_error().error[0, 0] + plain.relative_error().error[0, 0])


def test_where_the_reference_is_noise_alone_an_estimator_is_worth_no_window() -> None:
    """Mean gradients of two groups that point away from each other, and a loss without any gradient."""
    products = torch.tensor([[1.0, -0.5], [-0.5, 1.0]], dtype=torch.float64)
    errors = products.expand(3, 1, 2, 2)
    bias = Bias(["all"], [1, 2], products[None], errors, errors, torch.ones(1, dtype=torch.float64), 4, 8)
    assert bias.equivalent_window().value.isnan()
    assert bias.equivalent_window_text() == "not to be told from noise"
    core = LinearCore()
    spans, state = linear_text(core, number=4, steps=3, beyond=3)
    truncated = TruncatedBPTT(core, lambda outputs, _: 0 * outputs.sum(dim=-1), 2)
    bias = measure_bias(truncated, spans, state, horizon=3, windows=[1, 2])
    assert bias.equivalent_window().value.isnan()
    assert bias.equivalent_window_text() == "not to be told from noise"


def test_any_estimator_can_be_measured_and_is_left_as_it_was() -> None:
    model = make_language_model()
    spans = make_text(24, is_last=ALL_END).divide(4)
    synthetic = partial(SyntheticGradients, window=2, synthesizer=model.synthesizer(3))
    for kind in (BPTT, partial(TruncatedBPTT, window=2), RTRL, synthetic):
        estimator = kind(model, model.loss).double()
        before = {name: value.clone() for name, value in estimator.state_dict().items()}
        model.zero_grad()
        model.output.weight.grad = torch.ones_like(model.output.weight)
        bias = measure_bias(estimator, spans, make_state(model), horizon=4)
        assert bias.relative_error().value.shape == (1, 1 + len(list(model.parameters())))
        assert_identical(dict(estimator.state_dict()), before)
        assert_identical(model.output.weight.grad, torch.ones_like(model.output.weight))
        assert model.output.bias.grad is None


def test_an_output_layer_that_the_loss_alone_knows_of_is_left_as_it_was() -> None:
    model, readout = make_core("GRU-1"), nn.Linear(SIZE, SIZE).double()
    before = torch.ones_like(readout.weight)
    readout.weight.grad = before.clone()

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(readout(outputs), targets)

    for kind in (BPTT, partial(TruncatedBPTT, window=2), RTRL):
        measure_bias(kind(model, loss), episodes(3, 8, 4), make_state(model), horizon=4, windows=[1])
    assert_identical(readout.weight.grad, before)
    assert readout.bias.grad is None


def test_spans_are_taken_together_up_to_the_horizon_or_an_end() -> None:
    whole = make_span(10, is_first=[(0, 0)], is_last=ALL_END)
    spans = [*whole.divide(4), *whole.divide(4)]
    assert [[span.steps for span in parts] for parts in stretches(spans, 8)] == [[4, 4], [2], [4, 4], [2]]
    assert [[span.steps for span in parts] for parts in stretches(spans, 50)] == [[4, 4, 2], [4, 4, 2]]


def test_what_cannot_be_measured_is_refused() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=2, steps=3, beyond=3)
    for number, windows, message in (
        (2, [2, 1], r"windows must be at least 1 step and increase, got \[2, 1\]"),
        (2, [0], r"windows must be at least 1 step and increase, got \[0\]"),
        (1, [1], "spans must make at least two stretches of 3 steps, got 1: take more"),
    ):
        with pytest.raises(ValueError, match=message):
            measure_bias(BPTT(core, half_squared_error), spans[:number], state, horizon=3, windows=windows)
    with pytest.raises(ValueError, match="windows must be at least one to compare with, got none"):
        measure_bias(BPTT(core, half_squared_error), spans, state, horizon=3).equivalent_window()


def alternating(synthetic: SyntheticGradients) -> Mixed:
    return Mixed(synthetic, Alternate(WarmRestarts(1)))


def grounded(synthetic: SyntheticGradients) -> Mixed:
    return Mixed(synthetic, Constant(), ground_every=4, ground_window=4)


def corrected(synthetic: SyntheticGradients) -> ControlVariate:
    return ControlVariate(synthetic, 0.5)


@pytest.mark.parametrize("kind", [alternating, grounded, corrected])
@pytest.mark.parametrize("before", [0, 1, 3])
def test_shares_and_draws_are_those_of_one_update_after_another(
    kind: Callable[[SyntheticGradients], GradientEstimator], before: int
) -> None:
    """The mean gradient is that of as many updates, wherever the estimator's count of them stands."""
    core, spans, state = LinearCore(), episodes(number=8, steps=4, span=4), torch.zeros(ROWS, SIZE).double()
    estimator = kind(bare(core, half_squared_error, 1, Zero()))
    for span in spans[:before]:
        estimator.backward(span, state)
    saved = estimator.get_extra_state()
    bias = measure_bias(estimator, spans, state, horizon=4, groups=2)
    assert estimator.get_extra_state() == saved
    long, groups = linear_gradient(core, spans[0], [4] * 4), []
    for part in (spans[:4], spans[4:]):
        core.zero_grad()
        for span in part:
            estimator.backward(span, state)
        assert core.weight.grad is not None
        groups.append(core.weight.grad / 4 - long)
    assert_close(bias.errors[0, 0, 0, 1], (groups[0] * groups[1]).sum())


def test_running_means_stand_still_while_updates_count() -> None:
    model, spans = make_core("LSTM-1"), make_span(24, future=make_span(8, seed=5)).divide(4)
    synthetic = as_if_trained(SyntheticGradients(model, squared_error, 2))
    found = [
        measure_bias(each, spans, make_state(model), horizon=4).errors
        for each in (Mixed(synthetic, Constant()), synthetic)
    ]
    assert_identical(found[0], found[1])


class ComplexCore(nn.Module):
    """A diagonal core whose states are pairs, multiplied by complex parameters, or by pairs of real ones."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.weight if self.weight.is_complex() else torch.view_as_complex(self.weight)
        outputs = []
        for step in inputs:
            pairs = torch.view_as_complex(state.unflatten(-1, (-1, 2)))
            state = torch.view_as_real(weight.conj() * pairs).flatten(-2) + step
            outputs.append(state)
        return torch.stack(outputs), state


def test_a_complex_parameter_counts_as_its_real_and_imaginary_parts() -> None:
    weight = torch.polar(torch.tensor([0.9, 0.7]).double(), torch.tensor([0.4, 2.0]).double())
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(2, 24, ROWS, 4, dtype=torch.float64, generator=generator)
    spans = [
        Span(inputs[t : t + 4], targets[t : t + 4], future=Span(inputs[t + 4 : t + 8], targets[t + 4 : t + 8]))
        for t in range(0, 20, 4)
    ]
    state = torch.zeros(ROWS, 4).double()
    found: list[Bias] = []
    for each in (weight, torch.view_as_real(weight)):
        truncated = TruncatedBPTT(ComplexCore(each.clone()), half_squared_error, 2)
        found.append(measure_bias(truncated, spans, state, horizon=4, windows=[1, 4]))
    for name in ("reference", "errors", "mixed", "noise"):
        assert_close(getattr(found[0], name), getattr(found[1], name))


def test_what_comes_late_is_measured_as_what_runs_ahead() -> None:
    model, spans = make_core("LSTM-1"), make_span(24, future=make_span(8, seed=5)).divide(2)
    ahead = as_if_trained(SyntheticGradients(model, squared_error, 2))
    found = [measure_bias(each, spans, make_state(model), horizon=4) for each in (Delayed(ahead), ahead)]
    assert_identical(found[0].relative_error().value.nan_to_num(), found[1].relative_error().value.nan_to_num())


def test_where_rows_are_padded_every_loss_counts_once() -> None:
    core, whole = make_core("GRU-1"), make_span(12)
    episode = list(padded(whole.inputs, whole.targets, steps=4, lookahead=8, lengths=[12, 5, 2]))
    exact, truncated = ExactAhead(core, squared_error, 4, 8), TruncatedBPTT(core, squared_error, 2)
    errors = [
        measure_bias(each, 3 * episode, make_state(core), horizon=12, windows=[2, 12]).relative_error().value[:, 0]
        for each in (exact, truncated)
    ]
    assert float(errors[0][0]) == pytest.approx(0, abs=1e-12)
    assert float(errors[1][0]) == pytest.approx(float(errors[1][1]))
    assert errors[1][1] > 0.01
