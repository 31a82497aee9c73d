"""With the windows' true Jacobians an adjoint synthesizer is back-propagation through the span; it learns them.

On a linear core s' = A s + u with a loss |s' - y|^2 / 2, output gradients are d_j = s_j - y_j, the transposed Jacobian
of T steps is A^T to the T-th power, and what arrives at a window's first state is sum_j (A^T)^j d_j.
"""

from typing import Any

import pytest
import torch
from models import (
    SIZE,
    LinearCore,
    as_if_trained,
    gradients,
    half_squared_error,
    make_hierarchy,
    make_span,
    mark,
    squared_error,
)
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.estimators import BPTT, SyntheticGradients
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.mixture import Mixture
from sgrnn.estimators.schedules import Constant
from sgrnn.span import Span
from sgrnn.state import state_size
from sgrnn.synthesizers import AdjointSynthesizer, GradientPredictor, Lookahead

ROWS = 4
ENDS = torch.ones(ROWS, dtype=torch.bool)


def make_episode(steps: int, is_first: list[tuple[int, int]] | None = None, rows: int = ROWS, seed: int = 1) -> Span:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(2, steps, rows, SIZE, dtype=torch.float64, generator=generator)
    return Span(drawn[0], drawn[1], mark(steps, rows, is_first), is_last=torch.ones(rows, dtype=torch.bool))


def make_estimator(core: LinearCore, window: int, hidden_size: int = 4, **options: Any) -> SyntheticGradients:
    torch.manual_seed(0)
    synthesizer = AdjointSynthesizer(
        SIZE, SIZE, SIZE, window=window, hidden_size=hidden_size, rank=SIZE, projection=2
    )  # fmt: skip
    return SyntheticGradients(
        core, half_squared_error, window, synthesizer=synthesizer, remove_radial=False, shrinkage=False, **options
    ).double()


def know_the_jacobians(estimator: SyntheticGradients, core: LinearCore) -> None:
    """Weights with which the prediction is exact, once the estimator's scales are known."""
    synthesizer = estimator.synthesizer
    assert isinstance(synthesizer, AdjointSynthesizer)
    A, window = core.weight.detach(), synthesizer.window
    assert window is not None
    with torch.no_grad():
        for parameter in (synthesizer.gate, synthesizer.next_gate.weight):
            parameter.zero_()
        synthesizer.output_projection.copy_(torch.eye(SIZE))
        synthesizer.next_projection.weight.copy_(torch.eye(SIZE))
        scale = estimator.reader.output_square.sqrt() / estimator.predictor.scale
        powers = [torch.linalg.matrix_power(A.T, step + 1) for step in range(window)]
        synthesizer.last.weight.copy_(scale * torch.cat(powers, dim=1))
        synthesizer.next_last.weight.copy_(powers[-1])


def full_gradient(core: LinearCore, span: Span, state: Tensor) -> dict[str, Tensor]:
    core.zero_grad()
    BPTT(core, half_squared_error).backward(span, state)
    return gradients(core)


STARTS: dict[str, list[tuple[int, int]] | None] = {
    "none": None,
    "with the span": [(0, row) for row in range(ROWS)],
    "at a boundary": [(6, 1)],
    "inside windows": [(4, 0), (5, 2), (7, 2)],
    "in the last window": [(10, 3)],
}


@pytest.mark.parametrize(
    ("window", "starts", "parallel"),
    [
        (1, "none", True),
        (2, "at a boundary", True),
        (2, "inside windows", False),
        (3, "with the span", True),
        (3, "inside windows", True),
        (4, "in the last window", True),
    ],
)
def test_with_the_true_jacobians_it_is_back_propagation_through_the_span(
    window: int, starts: str, parallel: bool
) -> None:
    core, span = LinearCore(), make_episode(11, STARTS[starts])
    state = torch.randn(ROWS, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = full_gradient(core, span, state)
    estimator = make_estimator(core, window, parallel=parallel)
    estimator.backward(span, state)  # the scales are now known
    know_the_jacobians(estimator, core)
    core.zero_grad()
    step = estimator.backward(span, state)
    assert_close(gradients(core), expected)
    if window < 11:
        assert_close(step.metrics["target_r2"], torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize(("share", "trace_decay"), [(1.0, 0.0), (1.0, 0.6), (0.3, 0.0)])
def test_its_target_is_what_the_core_makes_of_what_did_arrive(share: float, trace_decay: float) -> None:
    """Whatever else crosses the boundary: with the true Jacobians the prediction is exact."""
    core, span = LinearCore(), make_episode(11)
    state = torch.randn(ROWS, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    estimator = make_estimator(core, 2, trace_decay=trace_decay)
    estimator.backward(span, state)
    know_the_jacobians(estimator, core)
    estimator.zero_grad()
    step = estimator.backward_mixed(span, state, Mixture(share))
    assert_close(step.metrics["target_r2"], torch.ones((), dtype=torch.float64))


def test_it_is_trained_at_the_predictions_that_it_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a state of which a part crosses no boundary: a hierarchy's sums, which are read and then zero again."""
    core, compared = make_hierarchy(1, 2), list[tuple[Tensor, Tensor]]()
    size = state_size(core.initial_state(1))
    synthesizer = AdjointSynthesizer(size, SIZE, SIZE, window=2, hidden_size=4, rank=3)
    estimator = as_if_trained(SyntheticGradients(core, squared_error, 2, synthesizer=synthesizer))
    learn = GradientPredictor.learn

    def seen(self: GradientPredictor, predicted: Tensor, target: Tensor, rows: Any, after: Tensor) -> dict[str, Tensor]:
        compared.append((predicted[ROWS:, 0].detach(), after[:-ROWS]))
        return learn(self, predicted, target, rows, after)

    monkeypatch.setattr(GradientPredictor, "learn", seen)
    estimator.backward(make_span(6, ROWS, future=make_span(2, ROWS)), core.initial_state(ROWS))
    for trained, made in compared:
        assert_close(trained, made)
    assert compared


def test_it_learns_the_jacobians_from_windows_of_one_step() -> None:
    """Linear in all that is learned, it converges to the exact gradient of the whole span, 8 windows long."""
    estimator = make_estimator(core := LinearCore(), 1)
    synthesizer = estimator.synthesizer
    assert isinstance(synthesizer, AdjointSynthesizer)
    estimator.requires_grad_(False)
    synthesizer.last.requires_grad_()
    synthesizer.next_last.requires_grad_()
    with torch.no_grad():
        synthesizer.gate.zero_()
        synthesizer.next_gate.weight.zero_()
        synthesizer.output_projection.copy_(torch.eye(SIZE))
        synthesizer.next_projection.weight.copy_(torch.eye(SIZE))
    learned = [*synthesizer.last.parameters(), *synthesizer.next_last.parameters()]
    optimizer = torch.optim.SGD(learned, lr=0.5)
    state = torch.randn(32, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for number in range(80):
        optimizer.zero_grad()
        estimator.backward(make_episode(8, rows=32, seed=number), state)
        optimizer.step()
    span = make_episode(8, rows=32, seed=5000)
    expected = full_gradient(core, span, state)
    core.zero_grad()
    estimator.backward(span, state)
    assert (gradients(core)["weight"] - expected["weight"]).norm() < 0.01 * expected["weight"].norm()


def test_beyond_the_span_it_sees_the_output_gradients_of_one_more_window() -> None:
    """A span and its future of one window give the gradient of both, but for what comes later still."""
    core, whole = LinearCore(), make_episode(8)
    state = torch.randn(ROWS, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    span = Span(whole.inputs[:6], whole.targets[:6], future=Span(whole.inputs[6:], whole.targets[6:]))
    estimator = make_estimator(core, 2)
    estimator.backward(span, state)
    know_the_jacobians(estimator, core)
    core.zero_grad()
    estimator.backward(span, state)
    found = gradients(core)["weight"]
    core.zero_grad()
    # the weights of the future's steps are others, as they will have been updated by then
    between = core(whole.inputs[:6], state)
    fixed = LinearCore().requires_grad_(False)
    after = fixed(whole.inputs[6:], between[1])
    outputs = torch.cat([between[0], after[0]])
    (half_squared_error(outputs, whole.targets).sum() / (6 * ROWS)).backward()
    assert_close(found, gradients(core)["weight"])


def test_of_a_shorter_last_window_no_step_beyond_its_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those arrive by way of what is injected at its end, and would count twice."""
    whole, estimator, seen = make_episode(7), make_estimator(LinearCore(), 2), list[Lookahead]()
    span = Span(whole.inputs[:5], whole.targets[:5], future=Span(whole.inputs[5:], whole.targets[5:]))
    synthesizer = estimator.synthesizer
    assert isinstance(synthesizer, AdjointSynthesizer)
    jacobians = synthesizer.jacobians
    monkeypatch.setattr(synthesizer, "jacobians", lambda state, ahead: (seen.append(ahead), jacobians(state, ahead))[1])
    estimator.backward(span, torch.zeros(ROWS, SIZE, dtype=torch.float64))
    assert seen[0].valid is not None
    by_boundary = seen[0].valid.unflatten(1, (4, ROWS)).all(dim=2)
    assert by_boundary.tolist() == [[True, True, True, True], [True, True, False, True]]


@pytest.mark.parametrize(("state_size", "vectors"), [(5, 1), (6, 2)])
def test_it_is_linear_in_the_output_gradients_and_in_what_is_injected_next(state_size: int, vectors: int) -> None:
    torch.manual_seed(0)
    synthesizer = AdjointSynthesizer(state_size, 3, 2, window=2, rank=2, hidden_size=4).double()
    assert synthesizer.vectors == vectors, "as wide as the outputs, or none"
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter)
    state, inputs = torch.randn(7, state_size).double(), torch.randn(2, 7, 2).double()
    seen, following = torch.randn(2, 2, 7, 3).double(), torch.randn(2, 7, state_size).double()

    def predict(seen: Tensor, following: Tensor) -> Tensor:
        return synthesizer(state, Lookahead(inputs, None, seen), following)

    both = predict(2 * seen[0] + seen[1], 2 * following[0] + following[1])
    assert both.shape == (7, 1, state_size)
    assert both.all()
    assert_close(both, 2 * predict(seen[0], following[0]) + predict(seen[1], following[1]))


def test_the_window_must_be_its_own() -> None:
    core, synthesizer = LinearCore().float(), AdjointSynthesizer(SIZE, SIZE, SIZE, window=3)
    with pytest.raises(ValueError, match="window must be that of the synthesizer, 3 steps, got 2"):
        SyntheticGradients(core, half_squared_error, 2, synthesizer=synthesizer)
    estimator = SyntheticGradients(core, half_squared_error, 3, synthesizer=synthesizer)
    state = torch.zeros(ROWS, SIZE)
    span = Span(torch.zeros(6, ROWS, SIZE), torch.zeros(6, ROWS, SIZE), is_last=ENDS)
    with pytest.raises(ValueError, match="window must be that of the synthesizer, 3 steps, got 6"):
        estimator.backward_mixed(span, state, Mixture(window=6))


def test_it_cannot_be_grounded() -> None:
    with pytest.raises(ValueError, match=r"^near must be at least 1 step, got 0$"):
        AdjointSynthesizer(SIZE, SIZE, SIZE, window=3, near=0)
    with pytest.raises(ValueError, match="ground_every and ground_window need a synthesizer of any window"):
        Mixed(make_estimator(LinearCore(), 3), Constant(), ground_every=2, ground_window=6)
