"""SnAp-1 keeps the influence of a parameter on what it reaches within a step; where nothing else is, it is exact."""

import numpy as np
import pytest
import torch
from models import ROWS, SIZE, divide, make_core, make_span, make_state, squared_error, train_on
from tolerances import TOLERANCES, assert_close
from torch import Tensor, nn

from sgrnn.estimators import BPTT, TruncatedBPTT
from sgrnn.estimators.online import RTRL, SnAp1
from sgrnn.span import Span
from sgrnn.state import State

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


@pytest.mark.parametrize("name", ["own", "GRU-1"])
def test_it_is_exact_where_units_do_not_act_on_one_another(name: str) -> None:
    model, span = make_diagonal(name), make_span(STEPS, is_first=STARTS)
    expected, _ = train_on(BPTT(model, squared_error), [span], make_state(model))
    found, _ = train_on(SnAp1(model, squared_error), divide(span, [1, 5, 3]), make_state(model))
    assert_close(found, expected)


def test_the_pattern_is_that_of_all_steps_so_far() -> None:
    """With inputs of which all but one are zero, as tokens are, a step alone does not tell it."""
    model, span = make_diagonal("GRU-1"), make_span(STEPS)
    chosen = (torch.arange(STEPS) % SIZE)[:, None].expand(STEPS, ROWS)
    span = Span(nn.functional.one_hot(chosen, SIZE).double(), span.targets)
    expected, _ = train_on(BPTT(model, squared_error), [span], make_state(model))
    found, _ = train_on(SnAp1(model, squared_error), divide(span, [1, 5, 3]), make_state(model))
    assert_close(found, expected)


def test_elsewhere_it_is_neither_exact_nor_truncated() -> None:
    model, spans = make_core("LSTM-2"), [make_span(STEPS)]
    found, _ = train_on(SnAp1(model, squared_error), spans, make_state(model))
    for estimator in (RTRL(model, squared_error), TruncatedBPTT(model, squared_error, 1)):
        other, _ = train_on(estimator, spans, make_state(model))
        assert any(not torch.allclose(found[key], other[key], rtol=1e-3) for key in found)


def test_it_is_the_equation_with_the_pattern_of_an_rnn() -> None:
    """In NumPy, row by row; a unit's row of each matrix, and its biases, reach that unit alone within a step."""
    model, span, state = make_core("nn.RNN-1"), make_span(STEPS), make_state(make_core("nn.RNN-1"))
    found, _ = train_on(SnAp1(model, squared_error), divide(span, [4, 5]), state)
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
            influence = mask * ((slope[:, None] * U) @ influence + direct)
            expected += 2 * (h - y) @ influence
    flat = torch.cat([gradient.flatten() for gradient in found.values()])
    relative, absolute = TOLERANCES[torch.float64]
    np.testing.assert_allclose(flat.numpy(), expected, rtol=relative, atol=absolute)


class Chain(nn.Module):
    """h_1' = tanh(h_2), h_2' = tanh(w x): what w does to h_1 takes two steps. The output is h_1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for step in inputs:
            state = torch.cat([state[:, 1:].tanh(), (self.weight * step).tanh()], dim=1)
            outputs.append(state[:, :1])
        return torch.stack(outputs), state


def test_what_takes_two_steps_is_left_out() -> None:
    span = Span(torch.ones(2, 1, 1, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1))
    spans, state = divide(span, [1, 1]), torch.zeros(1, 2, dtype=torch.float64)
    model = Chain()

    def at_the_second(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs * targets).sum(dim=-1)

    inner = np.tanh(0.7)
    exact = (1 - np.tanh(inner) ** 2) * (1 - inner**2)
    found = {type(estimator): train_on(estimator, spans, state)[0]["weight"]
             for estimator in (RTRL(model, at_the_second), SnAp1(model, at_the_second))}  # fmt: skip
    assert_close(found[RTRL], torch.tensor(exact, dtype=torch.float64))
    assert found[SnAp1] == 0


class Dressed(nn.Module):
    """Two units of which each acts on the other, in the forms that models give their state and outputs."""

    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form = form
        self.keep, self.read = (nn.Linear(SIZE, SIZE, bias=False) for _ in range(2))
        self.readout = nn.Linear(SIZE, SIZE)
        self.double()

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs, h = [], state[0]
        for step in inputs:
            h = torch.tanh(self.keep(h) + self.read(step))
            outputs.append(self.readout(h) + step if self.form == "readout" else h)
        after = h[None]
        if self.form == "readout":
            outputs[-1] = self.readout(after[0]) + inputs[-1]
        return torch.stack(outputs), after


@pytest.mark.parametrize(("form", "lengths"), [("copy", [1, 5, 3]), ("readout", [STEPS])])
def test_it_is_the_equation_whatever_the_outputs_are_made_of(form: str, lengths: list[int]) -> None:
    """In PyTorch: the Jacobians by autograd, the mask from the equations of the units."""
    model, span = Dressed(form), make_span(STEPS)
    state = torch.zeros(1, ROWS, SIZE, dtype=torch.float64)
    found, _ = train_on(SnAp1(model, squared_error), divide(span, lengths), state)
    unit = torch.eye(SIZE, dtype=torch.float64)
    mask = torch.cat([unit.repeat_interleave(SIZE, dim=1)] * 2, dim=1)  # of keep.weight and read.weight, row by row
    expected, of_readout = torch.zeros(mask.shape[1], dtype=torch.float64), torch.zeros(SIZE, SIZE).double()
    K, R = model.keep.weight.detach(), model.read.weight.detach()
    V = model.readout.weight.detach() if form == "readout" else unit
    for row in range(ROWS):
        h, influence = state[0, row], torch.zeros_like(mask)
        for x, y in zip(span.inputs[:, row], span.targets[:, row], strict=True):
            before, h = h, torch.tanh(K @ h + R @ x)
            slope = torch.diag(1 - h**2)
            direct = slope @ torch.cat([torch.kron(unit, before), torch.kron(unit, x)], dim=1)
            influence = mask * (slope @ K @ influence + direct)
            said = V @ h + model.readout.bias.detach() + x if form == "readout" else h
            error = 2 * (said - y)
            expected += error @ V @ influence
            of_readout += torch.outer(error, h)
    flat = torch.cat([found["keep.weight"].flatten(), found["read.weight"].flatten()])
    assert_close(flat, expected)
    if form == "readout":
        assert_close(found["readout.weight"], of_readout)


@pytest.mark.parametrize("name", ["nn.LSTM-2", "hierarchy 1, 4"])
def test_the_loss_is_carried_back_to_the_state_by_any_of_our_cores(name: str) -> None:
    """An output layer in the model or in the loss: all the same."""
    core, span = make_core(name), make_span(STEPS)
    layer = nn.Linear(core(span.inputs, make_state(core))[0].shape[-1], SIZE).double()

    class Within(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core, self.layer = core, layer

        def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            outputs, state = self.core(inputs, state)
            return self.layer(outputs), state

    read_out = SnAp1(core, lambda o, y: squared_error(layer(o), y))
    apart, _ = train_on(read_out, divide(span, [4, 5]), make_state(core))
    within, _ = train_on(SnAp1(Within(), squared_error), divide(span, [4, 5]), make_state(core))
    assert_close({f"core.{key}": value for key, value in apart.items()},
                 {key: value for key, value in within.items() if key.startswith("core.")})  # fmt: skip


def test_what_is_learned_of_the_initial_state_keeps_its_influence_on_its_unit() -> None:
    model, span = make_core("own"), make_span(1, is_first=[(0, row) for row in range(ROWS)])
    expected, _ = train_on(BPTT(model, squared_error), [span], make_state(model))
    found, _ = train_on(SnAp1(model, squared_error), [span], make_state(model))
    assert found["beginning"].abs().min() > 1e-3
    assert not torch.allclose(found["beginning"], expected["beginning"])


def test_the_pattern_of_an_lstm_gives_a_gate_its_unit() -> None:
    """An output gate's weights reach the hidden state alone, the others' the cell as well."""
    model = make_core("nn.LSTM-1")
    estimator = SnAp1(model, squared_error)
    estimator.backward(make_span(STEPS), make_state(model))
    gate_rows = estimator.pattern[:, : 4 * SIZE * SIZE].unflatten(1, (4, SIZE, SIZE))  # of weight_ih, by gate and unit
    one, none = torch.eye(SIZE, dtype=torch.bool), torch.zeros(SIZE, SIZE, dtype=torch.bool)
    for gate, (hidden, cell) in enumerate([(one, one), (one, one), (one, one), (one, none)]):
        for column in range(SIZE):
            assert torch.equal(gate_rows[:SIZE, gate, :, column], hidden)
            assert torch.equal(gate_rows[SIZE:, gate, :, column], cell)


class Twice(nn.Module):
    """Hands its units back twice: as two tensors, or as one."""

    def __init__(self, copied: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read, self.keep, self.copied = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE), copied

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        return (torch.zeros(batch_size, SIZE).double(), torch.zeros(batch_size, SIZE).double())

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        units, outputs = state[0], []
        for step in inputs:
            units = torch.tanh(self.read(step) + self.keep(units))
            outputs.append(units)
        return torch.stack(outputs), (units, units.clone() if self.copied else units)


def test_a_tensor_that_stands_twice_in_the_state_counts_once() -> None:
    found = []
    for copied in (True, False):
        model = Twice(copied).double()
        found.append(train_on(SnAp1(model, squared_error), [make_span(STEPS)], make_state(model))[0])
    assert_close(found[1], found[0])
