"""On a linear core with a quadratic loss the gradient of the endless future is known, and a synthesizer finds it.

For s' = A s + u and a loss |s'|^2 / 2 per step, the future's gradient at s is G(s) = A^T (s' + G(s')), so that
G(s) = P s + q with P = A^T (I + P) A and q = A^T (I + P) u + A^T q.

For any targets y and a loss |s' - y|^2 / 2 the output gradients are d_j = s_j - y_j, and the gradient is
sum_j (A^T)^j d_j: an `ErrorSynthesizer` that sees n steps ahead finds the first n terms, from windows of a single step.
"""

import torch
from models import SIZE, LinearCore, half_squared_error
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.estimators import SyntheticGradients
from sgrnn.span import Span
from sgrnn.synthesizers import ErrorSynthesizer, Lookahead, MLPSynthesizer

ROWS = 2 * SIZE


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.square().sum(dim=-1) / 2


def exact_gradient(A: Tensor, u: Tensor, states: Tensor) -> Tensor:
    """G of every row, P from the linear equation that defines it."""
    one = torch.eye(SIZE, dtype=A.dtype)
    # row-major vec(A^T X A) = (A^T kron A^T) vec(X)
    through = torch.kron(A.T, A.T)
    P = torch.linalg.solve(torch.eye(SIZE**2, dtype=A.dtype) - through, through @ one.flatten()).view(SIZE, SIZE)
    q = torch.linalg.solve(one - A.T, A.T @ (one + P) @ u)
    return states @ P.T + q


def make_span(steps: int) -> tuple[Span, Tensor, Tensor]:
    """Constant inputs, the states before them, and the input u of every step."""
    u = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    inputs = u.expand(steps, ROWS, SIZE)
    corners = torch.cat([torch.eye(SIZE), -torch.eye(SIZE)]).double()
    return Span(inputs, inputs), 2 * corners, u


def test_the_formula_is_the_gradient_of_a_long_unrolling() -> None:
    core = LinearCore()
    span, state, u = make_span(300)
    state.requires_grad_()
    half_square(core(span.inputs, state)[0], span.targets).sum().backward()
    assert state.grad is not None
    assert_close(state.grad, exact_gradient(core.weight.detach(), u, state.detach()))


def test_the_linear_synthesizer_converges_to_the_exact_gradient() -> None:
    core = LinearCore()
    synthesizer = MLPSynthesizer(SIZE, hidden_sizes=(), standardize=False)
    estimator = SyntheticGradients(
        core, half_square, 2, synthesizer=synthesizer, remove_mean=False, remove_radial=False, shrinkage=False,
        ema_decay=0.8,
    ).double()  # fmt: skip
    optimizer = torch.optim.SGD(estimator.parameters(), lr=1.0, momentum=0.7)
    span, state, u = make_span(5)
    for _ in range(200):
        optimizer.zero_grad()
        estimator.backward(span, state)
        optimizer.step()
    others = torch.randn(50, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    predicted = estimator.predictor.scale * synthesizer(others)[:, 0].detach()
    assert_close(predicted, exact_gradient(core.weight.detach(), u, others), torch.float32)  # converged, not exact


AHEAD = 3


def make_episode(core: LinearCore, rows: int, seed: int) -> tuple[Tensor, Span, Tensor]:
    """Random states, a step and AHEAD steps of future, and the output gradients d (1 + AHEAD, rows, SIZE) in them.

    Rows come in pairs that differ in nothing but the sign of the last one, which no prediction at the first state
    can see: what is learned of it there could only be chance, and in pairs there is no chance.
    """
    generator = torch.Generator().manual_seed(seed)
    state, *drawn = torch.randn(3 + 2 * AHEAD, rows // 2, SIZE, dtype=torch.float64, generator=generator)
    inputs, ahead = torch.stack(drawn).repeat(1, 2, 1).split(1 + AHEAD)
    ahead[AHEAD, rows // 2 :] *= -1
    state = state.repeat(2, 1)
    targets = core(inputs, state)[0].detach() - ahead
    return state, Span(inputs[:1], targets[:1], future=Span(inputs[1:], targets[1:])), ahead


def make_error_estimator(core: LinearCore, rank: int, hidden_size: int) -> SyntheticGradients:
    torch.manual_seed(0)
    synthesizer = ErrorSynthesizer(
        SIZE, SIZE, SIZE, lookahead=AHEAD, hidden_size=hidden_size, rank=rank, projection=2
    )  # fmt: skip
    return SyntheticGradients(
        core, half_squared_error, 1, synthesizer=synthesizer, remove_mean=False, remove_radial=False, shrinkage=False,
        ema_decay=0.9,
    ).double()  # fmt: skip


def predicted_and_exact(estimator: SyntheticGradients, core: LinearCore) -> tuple[Tensor, Tensor]:
    """Predictions for data never seen, and the first AHEAD terms of the true gradient."""
    state, span, ahead = make_episode(core, 200, seed=2)
    assert span.future is not None
    synthesizer, seen = estimator.synthesizer, ahead[:AHEAD] / estimator.reader.output_square.sqrt()
    read = torch.cat([span.inputs, span.future.inputs])[: synthesizer.reads]
    predicted = synthesizer(state, Lookahead(read, None, seen))[:, 0].detach()
    A = core.weight.detach()
    exact = sum(ahead[j] @ torch.matrix_power(A, j + 1) for j in range(AHEAD))  # of rows: (A^T)^j d is d A^j
    assert isinstance(exact, Tensor)
    return estimator.predictor.scale * predicted, exact


def test_the_sum_over_output_gradients_is_the_gradient_of_plain_unrolling() -> None:
    core = LinearCore()
    _, exact = predicted_and_exact(make_error_estimator(core, SIZE, 4), core)
    state, span, _ = make_episode(core, 200, seed=2)
    assert span.future is not None
    inputs, targets = torch.cat([span.inputs, span.future.inputs]), torch.cat([span.targets, span.future.targets])
    state.requires_grad_()
    half_squared_error(core(inputs[:AHEAD], state)[0], targets[:AHEAD]).sum().backward()
    assert state.grad is not None
    assert_close(state.grad, exact)


def test_from_windows_of_one_step_they_are_carried_back_from_as_far_as_they_are_seen_and_no_further() -> None:
    """With constant gates the prediction is linear in all that is learned, and converges to the exact gradient."""
    core = LinearCore()
    estimator = make_error_estimator(core, SIZE, 4)
    synthesizer = estimator.synthesizer
    assert isinstance(synthesizer, ErrorSynthesizer)
    estimator.requires_grad_(False)
    synthesizer.last.requires_grad_()
    nn.init.zeros_(synthesizer.gate)
    with torch.no_grad():
        synthesizer.output_projection.copy_(torch.eye(SIZE))
    optimizer = torch.optim.SGD(synthesizer.last.parameters(), lr=0.5, momentum=0.5)
    state, span, _ = make_episode(core, 400, seed=1)
    for _ in range(250):
        optimizer.zero_grad()
        estimator.backward(span, state)
        optimizer.step()
    predicted, exact = predicted_and_exact(estimator, core)
    assert_close(predicted, exact)


def test_so_they_are_with_gates_that_learn_to_be_constant() -> None:
    core = LinearCore()
    estimator = make_error_estimator(core, 2 * SIZE, 4)
    state, span, _ = make_episode(core, 120, seed=1)
    updates = 400
    optimizer = torch.optim.Adam(estimator.parameters(), lr=0.05)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: min(1.0, 10 ** (2 - 5 * update / updates)))
    for _ in range(updates):
        optimizer.zero_grad()
        estimator.backward(span, state)
        optimizer.step()
        rate.step()
    predicted, exact = predicted_and_exact(estimator, core)
    assert (predicted - exact).norm() < 0.01 * exact.norm()


def correlated_coefficient(core: LinearCore, correlation: float, updates: int) -> Tensor:
    """C of the prediction d C for d one step ahead, learned where the next is correlation d + noise."""
    generator = torch.Generator().manual_seed(3)
    state, first, noise, *inputs = torch.randn(5, 200, SIZE, dtype=torch.float64, generator=generator).repeat(1, 2, 1)
    noise[200:] *= -1
    ahead = torch.stack([first, correlation * first + noise])
    targets = core(torch.stack(inputs), state)[0].detach() - ahead
    span = Span(inputs[0][None], targets[:1], future=Span(inputs[1][None], targets[1:]))
    torch.manual_seed(0)
    synthesizer = ErrorSynthesizer(SIZE, SIZE, SIZE, lookahead=1, hidden_size=2, rank=SIZE)
    estimator = SyntheticGradients(
        core, half_squared_error, 1, synthesizer=synthesizer, remove_radial=False, shrinkage=False
    ).double()
    estimator.requires_grad_(False)
    synthesizer.last.requires_grad_()
    nn.init.zeros_(synthesizer.gate)
    with torch.no_grad():
        synthesizer.output_projection.copy_(torch.eye(SIZE))
    optimizer = torch.optim.SGD(synthesizer.last.parameters(), lr=0.5)
    for _ in range(updates):
        optimizer.zero_grad()
        estimator.backward(span, state)
        optimizer.step()
    unit = Lookahead(torch.zeros(1, SIZE, SIZE).double(), None, torch.eye(SIZE)[None].double())
    predicted = synthesizer(torch.zeros(SIZE, SIZE).double(), unit)[:, 0].detach()
    return estimator.predictor.scale * predicted / estimator.reader.output_square.sqrt()


def test_output_gradients_that_foretell_later_ones_are_carried_back_with_these() -> None:
    """d (A + rA^2 + r^2 A^3 + ...): of those out of sight the expectation is known, and is learned."""
    core, correlation = LinearCore(), 0.5
    A = core.weight.detach()
    exact = A @ torch.linalg.inv(torch.eye(SIZE, dtype=torch.float64) - correlation * A)
    assert_close(correlated_coefficient(core, correlation, 300), exact, torch.float32)


def test_without_an_end_they_grow_only_where_the_true_gradient_would() -> None:
    """A loop of gain correlation x Jacobian above 1: nothing in the form of the prediction stops it."""
    core = LinearCore()
    with torch.no_grad():
        core.weight.copy_(1.2 * torch.eye(SIZE))
    early, late = (correlated_coefficient(core, 0.9, updates).norm() for updates in (50, 200))
    assert early < 0.5 * late
    bounded = correlated_coefficient(core, 0.0, 150)
    assert (bounded - core.weight).norm() < 1e-3 * core.weight.norm()
