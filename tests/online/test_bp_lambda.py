"""BP(lambda) computes its equations, written out in NumPy, and finds the true gradient where that is linear."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from models import (
    ROWS,
    SIZE,
    LinearCore,
    divide,
    gradients,
    make_core,
    make_span,
    make_state,
    mark,
    squared_error,
    train_on,
)
from numpy.typing import NDArray
from tolerances import TOLERANCES, assert_close, assert_identical
from torch import Tensor, nn
from wrapped import WithReadout

from sgrnn.cores import initial_state
from sgrnn.estimators import Loss, TruncatedBPTT
from sgrnn.estimators.online import BPLambda
from sgrnn.span import Span
from sgrnn.state import State, cut, detach, floating_leaves, state_size, to_matrix, where_rows

Array = NDArray[np.float64]
STEPS = 9
STARTS = [(0, 0), (3, 1), (4, 0), (4, 2), (5, 2)]
ENDS = torch.tensor([False, True, False])


def make_estimator(model: nn.Module, loss: Loss = squared_error, **options: Any) -> BPLambda:
    return BPLambda(model, loss, **{"learning_rate": 0.1} | options).double()


def make_random_synthesizer(model: nn.Module, **options: Any) -> BPLambda:
    estimator = make_estimator(model, **options)
    generator = torch.Generator().manual_seed(7)
    size = state_size(make_state(model))
    estimator.weight = torch.randn(size, size, dtype=torch.float64, generator=generator)
    estimator.bias = torch.randn(size, dtype=torch.float64, generator=generator)
    return estimator


def rnn_step(weights: list[Array], x: Array, state: Array) -> tuple[Array, Array, Array]:
    """The state after a step, its Jacobian with respect to the state before, and that to the sums before the tanh."""
    W, U, b, c = weights
    h = np.tanh(W @ x + b + U @ state + c)
    inner = np.diag(1 - h**2)
    return h, inner @ U, inner


def lstm_step(weights: list[Array], x: Array, state: Array) -> tuple[Array, Array, Array]:
    """The same for the state (h, c) and the sums before the gates i, f, g, o."""
    W, U, b_i, b_h = weights
    before_h, before_c = np.split(state, 2)
    sums = W @ x + b_i + U @ before_h + b_h
    i, f, _, o = np.split(1 / (1 + np.exp(-sums)), 4)
    g = np.tanh(np.split(sums, 4)[2])
    c = f * before_c + i * g
    slope = o * (1 - np.tanh(c) ** 2)
    zero = np.zeros((SIZE, SIZE))
    of_c = np.hstack([np.diag(g * i * (1 - i)), np.diag(before_c * f * (1 - f)), np.diag(i * (1 - g**2)), zero])
    of_h = slope[:, None] * of_c + np.hstack([zero, zero, zero, np.diag(np.tanh(c) * o * (1 - o))])
    J = np.block([[of_h @ U, np.diag(slope * f)], [of_c @ U, np.diag(f)]])
    return np.concatenate([o * np.tanh(c), c]), J, np.vstack([of_h, of_c])


Stepping = Callable[[list[Array], Array, Array], tuple[Array, Array, Array]]
KINDS: dict[str, Stepping] = {"nn.RNN-1": rnn_step, "nn.LSTM-1": lstm_step}


def clipped(update: Array, norms: list[float]) -> Array:
    norms.append(float(np.linalg.norm(update)))
    return update / max(1.0, norms[-1])


def bp_lambda_by_hand(
    step: Stepping,
    weights: list[Array],
    span: Span,
    state: Array,
    alpha: float,
    gamma: float,
    lambda_: float,
    w: float,
) -> tuple[Array, Array, Array, list[float]]:
    """The equations, row by row: the core's summed gradient, theta, b, and the norms that were clipped."""
    N = state.shape[1]
    one = np.eye(N)
    theta, b = np.zeros((N, N)), np.zeros(N)
    h = [row.copy() for row in state]
    e = [np.zeros((N, N * N + N)) for _ in range(ROWS)]
    J = [np.zeros((N, N)) for _ in range(ROWS)]
    gradient, norms = np.zeros(sum(part.size for part in weights)), []
    assert span.is_first is not None
    assert span.is_last is not None
    for t in range(span.steps):
        begins = span.is_first[t].tolist()
        last = (span.is_last if t == span.steps - 1 else span.is_first[t + 1]).tolist()
        deltas, losses, inners, befores = [], [], [], []
        for row in range(ROWS):
            if begins[row]:
                h[row], e[row] = np.zeros(N), np.zeros_like(e[row])
            before = h[row]
            e[row] = gamma * lambda_ * J[row] @ e[row] + np.hstack([np.kron(one, before[None]), one])
            h[row], J[row], inner = step(weights, span.inputs[t, row].numpy(), before)
            loss = np.zeros(N)  # dL_t/dh_t
            loss[:SIZE] = 2 * (h[row][:SIZE] - span.targets[t, row].numpy())
            g_after = np.zeros(N) if last[row] else theta @ h[row] + b
            deltas.append(loss @ J[row] + gamma * g_after @ J[row] - (theta @ before + b))
            losses.append(loss)
            inners.append(inner)
            befores.append(before)
        update = np.mean([delta @ trace for delta, trace in zip(deltas, e, strict=True)], axis=0)
        theta = theta + alpha * clipped(update[: N * N].reshape(N, N), norms)
        b = b + alpha * clipped(update[N * N :], norms)
        for row in range(ROWS):
            g_after = np.zeros(N) if last[row] else theta @ h[row] + b
            sums = (losses[row] + w * g_after) @ inners[row]
            x, hidden = span.inputs[t, row].numpy(), befores[row][:SIZE]
            gradient += np.concatenate([np.outer(sums, x).ravel(), np.outer(sums, hidden).ravel(), sums, sums])
    return gradient, theta, b, norms


@pytest.mark.parametrize(
    ("kind", "lengths", "options"),
    [
        ("nn.RNN-1", [STEPS], (1.0, 1.0, 1.0)),
        ("nn.LSTM-1", [1, 5, 3], (0.8, 0.5, 0.7)),
        ("nn.RNN-1", [1] * STEPS, (0.9, 1.0, 0.1)),
    ],
)
def test_it_is_the_equations(kind: str, lengths: list[int], options: tuple[float, float, float]) -> None:
    model = make_core(kind)
    span, state = make_span(STEPS, is_first=STARTS, is_last=ENDS), make_state(model)
    span = replace(span, targets=2 * span.targets)
    gamma, lambda_, w = options
    estimator = make_estimator(model, discount=gamma, trace_decay=lambda_, injection_scale=w)
    found, _ = train_on(estimator, divide(span, lengths), state)
    weights = [parameter.detach().numpy() for parameter in model.parameters()]
    gradient, theta, b, norms = bp_lambda_by_hand(
        KINDS[kind], weights, span, to_matrix(state).numpy(), estimator.learning_rate, gamma, lambda_, w
    )
    relative, absolute = TOLERANCES[torch.float64]
    flat = torch.cat([part.flatten() for part in found.values()])
    np.testing.assert_allclose(flat.numpy(), gradient, rtol=relative, atol=absolute)
    np.testing.assert_allclose(estimator.weight.numpy(), theta, rtol=relative, atol=absolute)
    np.testing.assert_allclose(estimator.bias.numpy(), b, rtol=relative, atol=absolute)
    assert min(norms) < 1 < max(norms)  # clipped at some steps, and not at others


def test_it_does_not_matter_where_a_sequence_is_divided() -> None:
    """A span before the first step of another sequence has that from its `is_last`, or from its future."""
    model = make_core("GRU-2")
    span, state = make_span(STEPS, is_first=STARTS, is_last=ENDS), make_state(model)
    whole = make_estimator(model)
    expected, _ = train_on(whole, [span], state)
    for futures in (True, False):
        parts = make_estimator(model)
        found, _ = train_on(parts, divide(span, [4, 1, 4], futures=futures), state)
        assert_close(found, expected)
        assert_close(parts.state_dict(), whole.state_dict())


def test_with_nothing_learned_it_is_truncation_at_every_step() -> None:
    model = WithReadout(make_core("nn.LSTM-2"))
    spans, state = divide(make_span(STEPS, is_first=STARTS), [5, 4]), make_state(model)
    expected, plain = train_on(TruncatedBPTT(model, squared_error, 1), spans, state)
    found, steps = train_on(make_estimator(model, learning_rate=0.0), spans, state)
    assert_close(found, expected)
    for step, other in zip(steps, plain, strict=True):
        assert_close([step.loss, step.state], [other.loss, other.state])
        assert_close(step.metrics, {**other.metrics, "td_rms": step.metrics["td_rms"]})


def injected_by_hand(model: nn.Module, estimator: BPLambda, span: Span, state: State) -> dict[str, Tensor]:
    """By autograd, the graph cut before every step: gradients of the sum of L_t + w <s_t, g(s_t)>, g held constant."""
    model.zero_grad()
    assert span.is_first is not None
    assert span.is_last is not None
    for t in range(span.steps):
        before = where_rows(span.is_first[t], initial_state(model, ROWS), detach(state))
        outputs, state = model(span.inputs[t : t + 1], before)
        after = to_matrix(state)
        closed = span.is_last if t == span.steps - 1 else span.is_first[t + 1]
        injected = estimator.injection_scale * estimator.predict(after.detach()) * ~closed[:, None]
        (squared_error(outputs, span.targets[t : t + 1]).sum() + (after * injected).sum()).backward()
    return gradients(model)


@pytest.mark.parametrize("core", ["hierarchy 1, 2, 3", "readout"])
def test_the_model_gets_what_is_injected_through_one_step(core: str) -> None:
    model = WithReadout(make_core("own")) if core == "readout" else make_core(core)
    span, state = make_span(STEPS, is_first=STARTS, is_last=ENDS), make_state(model)
    estimator = make_random_synthesizer(model, learning_rate=0.0, injection_scale=0.3)
    found, _ = train_on(estimator, divide(span, [2, 7]), state)
    assert_close(found, injected_by_hand(model, estimator, span, state))


def test_the_td_error_is_what_arrives_at_the_state_before() -> None:
    """From an untrained synthesizer; with a small loss, so that nothing is clipped."""
    model = WithReadout(make_core("own"))
    span, state = make_span(1), make_state(model)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(outputs, targets) / 1000

    estimator = make_estimator(model, loss, learning_rate=1.0)
    step = estimator.backward(span, state)
    first = cut(state)
    loss(model(span.inputs, first)[0], span.targets).sum().backward()
    arrived = to_matrix([torch.zeros_like(x) if x.grad is None else x.grad for x in floating_leaves(first)])
    assert_close(estimator.weight, arrived.T @ to_matrix(state) / ROWS)
    assert_close(estimator.bias, arrived.mean(dim=0))
    assert_close(step.metrics["td_rms"], arrived.square().mean().sqrt())


class FromCorners(LinearCore):
    """Sequences begin at the corners of a cross."""

    def initial_state(self, batch_size: int) -> Tensor:
        corners = torch.cat([torch.eye(SIZE), -torch.eye(SIZE)]).to(self.weight)
        return corners[torch.arange(batch_size) % len(corners)]


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.square().sum(dim=-1) / 2


def exact_gradient(A: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """P and q of the endless future's gradient G(s) = P s + q = A^T (s' + G(s')) at s, with s' = A s + u."""
    one, through = torch.eye(SIZE, dtype=A.dtype), torch.kron(A.T, A.T)
    P = torch.linalg.solve(torch.eye(SIZE**2, dtype=A.dtype) - through, through @ one.flatten()).view(SIZE, SIZE)
    return P, torch.linalg.solve(one - A.T, A.T @ (one + P) @ u)


def test_on_a_linear_core_it_finds_the_true_gradient() -> None:
    core, rows = FromCorners(), 2 * SIZE
    estimator = make_estimator(core, half_square, learning_rate=0.5, trace_decay=0.5)
    u = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    inputs = u.expand(8, rows, SIZE)
    span = Span(inputs, inputs, mark(8, rows, [(0, row) for row in range(rows)]))
    state = core.initial_state(rows)
    rms = [estimator.backward(span, state).metrics["td_rms"] for _ in range(150)]
    P, q = exact_gradient(core.weight.detach(), u)
    torch.testing.assert_close(estimator.weight, P, rtol=0, atol=1e-3)
    torch.testing.assert_close(estimator.bias, q, rtol=0, atol=1e-3)
    assert rms[-1] < 1e-3 * rms[0]


def test_it_steps_its_synthesizer_itself_and_keeps_a_trace_per_row() -> None:
    model = make_core("LSTM-1")
    estimator = make_estimator(model)
    assert list(estimator.parameters()) == []
    estimator.backward(make_span(STEPS), make_state(model))
    assert estimator.weight.any()
    assert estimator.bias.any()
    N = 2 * SIZE
    assert estimator.trace.numel() == ROWS * N * (N**2 + N)


def test_nothing_but_the_synthesizer_goes_on_from_a_sequence_to_another() -> None:
    model, every_row = make_core("LSTM-1"), torch.ones(ROWS, dtype=torch.bool)
    for is_last, is_first in ((every_row, None), (None, [(0, row) for row in range(ROWS)])):
        estimators = [make_estimator(model), make_estimator(model)]
        estimators[0].backward(make_span(STEPS, is_last=is_last), make_state(model))
        estimators[1].weight, estimators[1].bias = estimators[0].weight.clone(), estimators[0].bias.clone()
        span = make_span(STEPS, is_first=is_first, seed=3)
        for estimator in estimators:
            estimator.backward(span, make_state(model))
        assert_identical(estimators[0].state_dict(), estimators[1].state_dict())


def test_options_out_of_range_are_refused() -> None:
    options: dict[str, Any]
    for options, message in (
        ({"learning_rate": -0.1}, r"^learning_rate must be at least 0, got -0\.1$"),
        ({"learning_rate": float("nan")}, r"^learning_rate must be at least 0, got nan$"),
        ({"discount": 1.5}, r"^discount must be in \[0, 1\], got 1\.5$"),
        ({"trace_decay": -1.0}, r"^trace_decay must be in \[0, 1\], got -1\.0$"),
        ({"injection_scale": -1.0}, r"^injection_scale must be at least 0, got -1\.0$"),
    ):
        with pytest.raises(ValueError, match=message):
            make_estimator(make_core("LSTM-1"), **options)


def test_a_state_of_another_size_or_of_other_rows_is_refused() -> None:
    model = make_core("LSTM-1")
    estimator = make_estimator(model)
    estimator.backward(make_span(3), make_state(model))
    with pytest.raises(ValueError, match=r"^state must have 6 features a row as in the spans before, got 12$"):
        estimator.backward(make_span(3), make_state(make_core("LSTM-2")))
    with pytest.raises(ValueError, match=r"^trace must be .* carried \(3, 6, 6, 7\), got \(5, 6, 6, 7\)$"):
        estimator.backward(make_span(3, rows=5), make_state(model, rows=5))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_runs_in_half_precision(dtype: torch.dtype) -> None:
    model, span = make_core("GRU-1").to(dtype), make_span(STEPS)
    narrow = replace(span, inputs=span.inputs.to(dtype), targets=span.targets.to(dtype))
    BPLambda(model, squared_error, learning_rate=0.1).backward(narrow, make_state(model))
    found = gradients(model)
    BPLambda(wide := make_core("GRU-1"), squared_error, learning_rate=0.1).backward(span, make_state(wide))
    for name, expected in gradients(wide).items():
        assert torch.allclose(found[name].double(), expected, atol=0.02 * float(expected.abs().max()) + 2e-3)
