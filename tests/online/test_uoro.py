"""UORO's gradient is the exact one in the mean over its random signs."""

import numpy as np
import torch
from models import SIZE, divide, make_core, make_span, make_state, squared_error, train_on
from numpy.typing import NDArray
from tolerances import TOLERANCES, assert_identical
from torch import Tensor, nn

from sgrnn.estimators import BPTT, TruncatedBPTT
from sgrnn.estimators.online import UORO
from sgrnn.span import Span
from sgrnn.state import State, map_state

Array = NDArray[np.float64]
STEPS = 6
ROWS = 1000  # draws at once: every row draws its own signs
CALLS = 20


def repeated(span: Span, state: State) -> tuple[Span, State]:
    """ROWS copies of one row."""
    is_first = None if span.is_first is None else span.is_first.repeat(1, ROWS)
    copies = Span(span.inputs.repeat(1, ROWS, 1), span.targets.repeat(1, ROWS, 1), is_first)
    return copies, map_state(lambda tensor: tensor.repeat_interleave(ROWS, dim=-2), state)


def draw(model: nn.Module, span: Span, state: State) -> tuple[list[Tensor], list[Tensor]]:
    """For every parameter (CALLS, ...) gradients, each a mean over ROWS draws, and the exact gradient."""
    copies, many = repeated(span, state)
    expected, _ = train_on(BPTT(model, squared_error), [copies], many)
    spans = divide(copies, [2, 4])
    draws = [train_on(UORO(model, squared_error, seed=seed), spans, many)[0] for seed in range(CALLS)]
    return [torch.stack([one[name] for one in draws]) for name in expected], list(expected.values())


def test_the_mean_over_draws_is_the_exact_gradient() -> None:
    model = make_core("own")
    found, expected = draw(model, make_span(STEPS, rows=1, is_first=[(0, 0), (3, 0)]), make_state(model, rows=1))
    for draws, exact in zip(found, expected, strict=True):
        error = draws.std(dim=0) / CALLS**0.5
        assert ((draws.mean(dim=0) - exact).abs() <= 4 * error + 1e-10).all()
    spread = torch.cat([(draws.std(dim=0) / CALLS**0.5).flatten() for draws in found])
    size = torch.cat([exact.flatten() for exact in expected])
    assert 0 < spread.norm() < 0.2 * size.norm()  # or the test would say little


def test_truncation_would_not_pass_for_it() -> None:
    model = make_core("nn.RNN-1")
    span, state = make_span(STEPS, rows=1), make_state(model, rows=1)
    found, _ = draw(model, span, state)
    copies, many = repeated(span, state)
    truncated, _ = train_on(TruncatedBPTT(model, squared_error, 1), [copies], many)
    distances = [
        ((draws.mean(dim=0) - biased).abs() / (draws.std(dim=0) / CALLS**0.5)).max()
        for draws, biased in zip(found, truncated.values(), strict=True)
    ]
    assert max(distances) > 8


def pulled(gradient: Array, x: Array, before: Array) -> Array:
    """From a gradient at an RNN's units, before the tanh, to one of its weights and biases."""
    return np.concatenate([np.outer(gradient, x).ravel(), np.outer(gradient, before).ravel(), gradient, gradient])


def test_it_is_the_papers_algorithm() -> None:
    """Algorithm 1 in NumPy for an RNN, with the signs that a generator of the same seed draws."""
    model = make_core("nn.RNN-1")
    span, state = make_span(STEPS, rows=1), make_state(model, rows=1)
    estimator = UORO(model, squared_error, seed=3)
    found, _ = train_on(estimator, divide(span, [2, 4]), state)
    generator, tiny = torch.Generator().manual_seed(3), 1e-7
    W, U, b, c = (parameter.detach().numpy() for parameter in model.parameters())
    h, state_vector, parameter_vector = state[0, 0].numpy(), np.zeros(SIZE), np.zeros(2 * SIZE**2 + 2 * SIZE)
    expected = np.zeros_like(parameter_vector)
    for x, y in zip(span.inputs[:, 0].numpy(), span.targets[:, 0].numpy(), strict=True):
        before, h = h, np.tanh(W @ x + b + U @ h + c)
        slope, error = 1 - h**2, 2 * (h - y)
        J = slope[:, None] * U
        expected += pulled(error * slope, x, before) + (error @ J @ state_vector) * parameter_vector
        signs = 2.0 * torch.randint(0, 2, (1, SIZE), generator=generator)[0].numpy() - 1
        state_vector, direct = J @ state_vector, pulled(signs * slope, x, before)
        rho_0 = np.sqrt(np.linalg.norm(parameter_vector) / (np.linalg.norm(state_vector) + tiny)) + tiny
        rho_1 = np.sqrt(np.linalg.norm(direct) / (np.linalg.norm(signs) + tiny)) + tiny
        state_vector = rho_0 * state_vector + rho_1 * signs
        parameter_vector = parameter_vector / rho_0 + direct / rho_1
    relative, absolute = TOLERANCES[torch.float64]
    flat = torch.cat([gradient.flatten() for gradient in found.values()])
    np.testing.assert_allclose(flat.numpy(), expected, rtol=relative, atol=absolute)
    np.testing.assert_allclose(estimator.parameter_vector[0].numpy(), parameter_vector, rtol=relative, atol=absolute)


def test_signs_are_those_of_the_seed_and_leave_the_global_generator_alone() -> None:
    model, spans = make_core("LSTM-1"), divide(make_span(STEPS), [2, 4])
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, same, other = (
        train_on(UORO(model, squared_error, seed=seed), spans, make_state(model))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert_identical(one, same)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    estimator = UORO(model, squared_error)
    estimator.backward(spans[0], make_state(model))
    shapes = {name: tuple(buffer.shape) for name, buffer in estimator.named_buffers()}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert shapes == {"state_vector": (3, 2 * SIZE), "parameter_vector": (3, parameters)}, "two vectors per row"
