"""SnAp-1 keeps the influence of a parameter on what it reaches within a step; where nothing else is, it is exact."""

import numpy as np
import pytest
import torch
from models import ROWS, SIZE, divide, make_core, make_span, make_state, squared_error, train_on
from tolerances import TOLERANCES, assert_close
from torch import Tensor, nn

from sgrnn.online import RealTime, SnAp1
from sgrnn.policies import Full, Truncated
from sgrnn.span import Span

STEPS = 9
STARTS = [(0, 0), (3, 1), (4, 0), (4, 2), (7, 1)]


class Diagonal(nn.Module):
    """s' = tanh(a * s + W x + b): a core whose units do not act on one another."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.keep = nn.Parameter(torch.randn(SIZE))
        self.read = nn.Linear(SIZE, SIZE)

    def initial_state(self, batch_size: int) -> Tensor:
        return self.keep.new_zeros(batch_size, SIZE)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for step in inputs:
            state = torch.tanh(self.keep * state + self.read(step))
            outputs.append(state)
        return torch.stack(outputs), state


def make_diagonal(name: str) -> nn.Module:
    """A core with diagonal recurrent matrices, of which all entries learn."""
    if name == "own":
        return Diagonal().double()
    core = make_core(name)
    with torch.no_grad():
        for parameter, matrix in core.named_parameters():
            if "weight_hh" in parameter:
                matrix.mul_(torch.eye(SIZE).repeat(matrix.shape[0] // SIZE, 1))
    return core


@pytest.mark.parametrize("name", ["own", "RNN-1", "GRU-1", "nn.RNN-1", "nn.GRU-1"])
def test_it_is_exact_where_units_do_not_act_on_one_another(name: str) -> None:
    model, span = make_diagonal(name), make_span(STEPS, starts=STARTS)
    expected, _ = train_on(Full(), model, squared_error, [span], make_state(model))
    found, _ = train_on(SnAp1(), model, squared_error, divide(span, [1, 5, 3]), make_state(model))
    assert_close(found, expected)


def test_the_pattern_is_that_of_all_steps_so_far() -> None:
    """With inputs of which all but one are zero, as tokens are, a step alone does not tell it."""
    model, span = make_diagonal("GRU-1"), make_span(STEPS)
    chosen = (torch.arange(STEPS) % SIZE)[:, None].expand(STEPS, ROWS)
    span = Span(nn.functional.one_hot(chosen, SIZE).double(), span.targets)
    expected, _ = train_on(Full(), model, squared_error, [span], make_state(model))
    found, _ = train_on(SnAp1(), model, squared_error, divide(span, [1, 5, 3]), make_state(model))
    assert_close(found, expected)


@pytest.mark.parametrize("name", ["RNN-1", "GRU-1", "LSTM-1", "LSTM-2", "own"])
def test_elsewhere_it_is_neither_exact_nor_truncated(name: str) -> None:
    model, spans = make_core(name), [make_span(STEPS)]
    found, _ = train_on(SnAp1(), model, squared_error, spans, make_state(model))
    for policy in (RealTime(), Truncated(1)):
        other, _ = train_on(policy, model, squared_error, spans, make_state(model))
        assert any(not torch.allclose(found[key], other[key], rtol=1e-3) for key in found)


def test_it_is_the_equation_with_the_pattern_of_an_rnn() -> None:
    """In NumPy, row by row; a unit's row of each matrix, and its biases, reach that unit alone within a step."""
    model, span, state = make_core("nn.RNN-1"), make_span(STEPS), make_state(make_core("nn.RNN-1"))
    found, _ = train_on(SnAp1(), model, squared_error, divide(span, [4, 5]), state)
    W, U, b, c = (parameter.detach().numpy() for parameter in model.parameters())
    unit_of = np.concatenate([np.repeat(np.arange(SIZE), SIZE), np.repeat(np.arange(SIZE), SIZE), np.arange(SIZE)])
    unit_of = np.concatenate([unit_of, np.arange(SIZE)])
    mask = np.arange(SIZE)[:, None] == unit_of[None, :]
    expected = np.zeros(unit_of.size)
    for row in range(ROWS):
        h, influence = state[0, row].numpy(), np.zeros(mask.shape)
        for x, y in zip(span.inputs[:, row].numpy(), span.targets[:, row].numpy(), strict=True):
            before, h = h, np.tanh(W @ x + b + U @ h + c)
            slope = 1 - h**2
            direct = np.zeros(mask.shape)
            for k in range(SIZE):
                values = np.concatenate([np.tile(x, SIZE), np.tile(before, SIZE), np.ones(2 * SIZE)])
                direct[k] = slope[k] * values * mask[k]
            error = 2 * (h - y)
            expected += error @ direct + error @ (slope[:, None] * U) @ influence
            influence = mask * ((slope[:, None] * U) @ influence) + direct
    flat = torch.cat([gradient.flatten() for gradient in found.values()])
    relative, absolute = TOLERANCES[torch.float64]
    np.testing.assert_allclose(flat.numpy(), expected, rtol=relative, atol=absolute)


def test_the_pattern_of_an_lstm_gives_a_gate_its_unit() -> None:
    """An output gate's weights reach the hidden state alone, the others' the cell as well."""
    model, policy = make_core("nn.LSTM-1"), SnAp1()
    policy.backward(model, squared_error, make_span(STEPS), make_state(model))
    gate_rows = policy.pattern[:, : 4 * SIZE * SIZE].unflatten(1, (4, SIZE, SIZE))  # of weight_ih, by gate and unit
    one, none = torch.eye(SIZE, dtype=torch.bool), torch.zeros(SIZE, SIZE, dtype=torch.bool)
    for gate, (hidden, cell) in enumerate([(one, one), (one, one), (one, one), (one, none)]):
        for column in range(SIZE):
            assert torch.equal(gate_rows[:SIZE, gate, :, column], hidden)
            assert torch.equal(gate_rows[SIZE:, gate, :, column], cell)
