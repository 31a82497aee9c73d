"""On a linear core with a quadratic loss the gradient of the endless future is known, and a synthesizer finds it.

For s' = A s + u and a loss |s'|^2 / 2 per step, the future's gradient at s is G(s) = A^T (s' + G(s')), so that
G(s) = P s + q with P = A^T (I + P) A and q = A^T (I + P) u + A^T q.
"""

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.policies import Synthetic
from sgrnn.span import Span
from sgrnn.synthesizers import MLPSynthesizer

SIZE = 3
ROWS = 2 * SIZE


class LinearCore(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        rotation, _ = torch.linalg.qr(torch.randn(SIZE, SIZE, dtype=torch.float64, generator=generator))
        self.weight = nn.Parameter(rotation @ torch.diag(torch.tensor([0.9, 0.6, 0.3], dtype=torch.float64)))

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for step in inputs:
            state = state @ self.weight.T + step
            outputs.append(state)
        return torch.stack(outputs), state


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
    span, state, u = make_span(400)
    state.requires_grad_()
    half_square(core(span.inputs, state)[0], span.targets).sum().backward()
    assert state.grad is not None
    assert_close(state.grad, exact_gradient(core.weight.detach(), u, state.detach()))


@pytest.mark.parametrize(("window", "steps"), [(1, 1), (1, 2), (2, 5)])
def test_the_linear_synthesizer_converges_to_the_exact_gradient(window: int, steps: int) -> None:
    core = LinearCore()
    synthesizer = MLPSynthesizer(SIZE, hidden_sizes=(), standardize=False)
    policy = Synthetic(window, synthesizer, center=False, tangent=False, gate=False, decay=0.8).double()
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0, momentum=0.7)
    span, state, u = make_span(steps)
    for _ in range(500):
        optimizer.zero_grad()
        policy.backward(core, half_square, span, state)
        optimizer.step()
    others = torch.randn(50, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = policy.mean_square.sqrt() * synthesizer(others)[:, 0].detach()
    assert_close(found, exact_gradient(core.weight.detach(), u, others), torch.float32)  # converged, not exact
