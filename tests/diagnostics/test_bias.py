"""The systematic error of parameter gradients: its closed form on a linear core, and none for an oracle."""

from collections.abc import Sequence

import pytest
import torch
from known import Oracle, Zero, bare, linear_text
from models import (
    CORES,
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
from torch import Tensor, nn

from sgrnn.diagnostics import Bias, measure_bias, stretch
from sgrnn.diagnostics.bias import join
from sgrnn.online import RealTime
from sgrnn.policies import Full, Policy, Synthetic, Truncated
from sgrnn.span import Span
from sgrnn.tasks import cut

ALL_END = torch.ones(ROWS, dtype=torch.bool)


def episodes(number: int, steps: int, span: int) -> list[Span]:
    """So many equal episodes that start and end all rows, cut into spans."""
    whole = make_span(steps, starts=[(0, row) for row in range(ROWS)], ends=ALL_END)
    return [part for _ in range(number) for part in cut(whole, span)]


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


def test_on_a_linear_core_every_figure_equals_its_closed_form() -> None:
    core = LinearCore()
    spans = episodes(number=4, steps=12, span=6)
    windows = [1, 2, 3, 4, 6, 12]
    found = measure_bias(
        Truncated(3), core, half_squared_error, spans, torch.zeros(ROWS, SIZE).double(), horizon=12, windows=windows
    )
    episode = join(spans[:2])
    long = linear_gradient(core, episode, [12] * 12)
    assert_close(found.reference[0], (long * long).sum().expand(4, 4).contiguous())
    for place, window in enumerate([3, *windows]):
        gradient = linear_gradient(core, episode, [window - t % window for t in range(12)])
        error = (gradient - long).norm() / long.norm()
        assert float(found.relative_error().value[place, 0]) == pytest.approx(float(error), abs=1e-7)
        cosine = (gradient * long).sum() / (gradient.norm() * long.norm())
        assert_close(found.cosine().value[place, 0], cosine)
    assert found.contenders == ["policy", *(f"T={window}" for window in windows)]
    assert found.tensors == ["all", "weight"]
    assert found.relative_error().error.abs().max() < 1e-6, "equal episodes have no spread"
    assert found.worth_text() == "worth T=3 ± 0.0"


def test_the_noise_is_that_of_one_update() -> None:
    """Two kinds of updates by turns: each lies half their difference away from the mean."""
    core = LinearCore()
    spans = [
        Span(span.inputs * factor, span.targets, span.starts, span.ends)
        for span, factor in zip(episodes(number=8, steps=4, span=4), [1.0, 2.0] * 4, strict=True)
    ]
    state = torch.zeros(ROWS, SIZE).double()
    found = measure_bias(Full(), core, half_squared_error, spans, state, horizon=4, groups=4)
    one, two = (linear_gradient(core, span, [4] * 4) for span in spans[:2])
    mean = (one + two) / 2
    expected = (one - two).norm() / 2 / mean.norm()
    assert_close(found.noise_ratio(), expected.expand(2).contiguous())
    assert float(found.relative_error().value[0, 0]) == 0
    assert found.updates_to_show()[0, 0] == torch.inf


def test_spans_that_are_left_over_count_for_nothing() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=5, steps=3, beyond=6)
    found, whole = (
        measure_bias(Full(), core, half_squared_error, each, state, horizon=6) for each in (spans, spans[:4])
    )
    assert found.updates == whole.updates == 4
    assert_identical(found.noise, whole.noise)
    assert found.noise[0] > 0


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("core", CORES)
def test_an_oracle_has_no_error(core: str, window: int) -> None:
    model = make_core(core)
    policy = bare(window, Oracle(model, squared_error, steps=12))
    spans = episodes(number=3, steps=12, span=4)
    found = measure_bias(policy, model, squared_error, spans, make_state(model), horizon=12, windows=[1, 12])
    assert found.relative_error().value[0].max() < 1e-7
    assert_close(found.cosine().value[0, 0], torch.ones((), dtype=torch.float64))
    assert found.relative_error().value[1, 0] > 0.01
    assert found.relative_error().value[2, 0] < 1e-7, "a window as long as the episodes has none either"
    assert found.worth_text().startswith("worth")


def test_a_synthesizer_of_zeros_is_worth_its_window() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=30, steps=6, beyond=12)
    found = measure_bias(
        bare(2, Zero()), core, half_squared_error, spans, state, horizon=12, windows=[1, 2, 3, 6, 12]
    )  # fmt: skip
    assert_close(found.relative_error().value[0], found.relative_error().value[2])
    assert float(found.worth().value) == pytest.approx(2)


def test_the_reference_sees_as_far_beyond_a_stretch_as_it_is_told() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=2, steps=3, beyond=5, rows=ROWS)
    found = measure_bias(Full(), core, half_squared_error, spans, state, horizon=3)
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
    assert_close(found.reference[1, 0, 1], (by_span[0] * by_span[1]).sum())


def test_noise_alone_is_not_taken_for_bias() -> None:
    """What is injected in the wrong rows has no mean: it is as biased as truncation, however noisy."""
    core = LinearCore()
    spans, state = linear_text(core, number=200, steps=1, beyond=10)
    noisy = bare(1, Oracle(core, half_squared_error, steps=10), shuffle=True, center=True)
    truncated = Truncated(1)
    found, plain = (
        measure_bias(policy, core, half_squared_error, spans, state, horizon=10) for policy in (noisy, truncated)
    )
    difference = float(found.relative_error().value[0, 0] - plain.relative_error().value[0, 0])
    assert abs(difference) < 3 * float(found.relative_error().error[0, 0] + plain.relative_error().error[0, 0])


def test_where_the_reference_is_noise_alone_a_policy_is_worth_no_window() -> None:
    """Mean gradients of two groups that point away from each other, and a loss without any gradient."""
    products = torch.tensor([[1.0, -0.5], [-0.5, 1.0]], dtype=torch.float64)
    errors = products.expand(3, 1, 2, 2)
    found = Bias(["all"], [1, 2], products[None], errors, errors, torch.ones(1, dtype=torch.float64), 4, 8)
    assert found.worth().value.isnan()
    assert found.worth_text() == "not to be told from noise"
    core = LinearCore()
    spans, state = linear_text(core, number=4, steps=3, beyond=3)
    found = measure_bias(
        Truncated(2), core, lambda outputs, _: 0 * outputs.sum(dim=-1), spans, state, horizon=3, windows=[1, 2]
    )  # fmt: skip
    assert found.worth().value.isnan()
    assert found.worth_text() == "not to be told from noise"


def test_any_policy_can_be_measured_and_is_left_as_it_was() -> None:
    model = make_language_model()
    spans = cut(make_text(24, ends=ALL_END), 4)
    for policy in (Full(), Truncated(2), RealTime(), Synthetic(2, model.synthesizer(3))):
        policy.double()
        before = {name: value.clone() for name, value in policy.state_dict().items()}
        model.zero_grad()
        model.output.weight.grad = torch.ones_like(model.output.weight)
        found = measure_bias(policy, model, model.loss, spans, make_state(model), horizon=4)
        assert found.relative_error().value.shape == (1, 1 + len(list(model.parameters())))
        assert_identical(dict(policy.state_dict()), before)
        assert_identical(model.output.weight.grad, torch.ones_like(model.output.weight))
        assert model.output.bias.grad is None


@pytest.mark.parametrize("before", [None, 1.0])
def test_an_output_layer_that_the_loss_alone_knows_of_is_left_as_it_was(before: float | None) -> None:
    model, readout = make_core("GRU-1"), nn.Linear(SIZE, SIZE).double()
    if before is not None:
        readout.weight.grad = torch.full_like(readout.weight, before)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(readout(outputs), targets)

    for policy in (Full(), Truncated(2), RealTime()):
        measure_bias(policy, model, loss, episodes(3, 8, 4), make_state(model), horizon=4, windows=[1])
    if before is None:
        assert readout.weight.grad is None
    else:
        assert_identical(readout.weight.grad, torch.full_like(readout.weight, before))
    assert readout.bias.grad is None


def test_spans_are_taken_together_up_to_the_horizon_or_an_end() -> None:
    whole = make_span(10, starts=[(0, 0)], ends=ALL_END)
    spans = [*cut(whole, 4), *cut(whole, 4)]
    assert [[span.steps for span in parts] for parts in stretch(spans, 8)] == [[4, 4], [2], [4, 4], [2]]
    assert [[span.steps for span in parts] for parts in stretch(spans, 50)] == [[4, 4, 2], [4, 4, 2]]
    joined = join(cut(whole, 4))
    assert_identical([joined.inputs, joined.targets, joined.starts, joined.ends],
                     [whole.inputs, whole.targets, whole.starts, whole.ends])  # fmt: skip


@pytest.mark.parametrize(
    ("spans", "windows", "message"),
    [
        (2, [2, 1], r"windows must be at least 1 step and increase, got \[2, 1\]"),
        (2, [0], r"windows must be at least 1 step and increase, got \[0\]"),
        (1, [1], "spans must make at least two stretches of 3 steps, got 1: take more"),
    ],
)
def test_what_cannot_be_measured_is_refused(spans: int, windows: list[int], message: str) -> None:
    core = LinearCore()
    found, state = linear_text(core, number=spans, steps=3, beyond=3)
    policy: Policy = Full()
    with pytest.raises(ValueError, match=message):
        measure_bias(policy, core, half_squared_error, found, state, horizon=3, windows=windows)
    if spans > 1:
        with pytest.raises(ValueError, match="windows must be at least one to compare with, got none"):
            measure_bias(policy, core, half_squared_error, found, state, horizon=3).worth()
