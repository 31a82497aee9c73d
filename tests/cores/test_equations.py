"""The cores compute the equations of their docstrings, written out in NumPy, and what torch.nn computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from models import gradients
from numpy.typing import NDArray
from tolerances import TOLERANCES, assert_close
from torch import Tensor, nn

from sgrnn.cores import GRU, LSTM, RNN
from sgrnn.cores.stacked import StackedCore
from sgrnn.state import leaves

Array = NDArray[np.float64]
STEPS, ROWS, INPUTS, HIDDEN = 6, 4, 3, 5


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values))


def lstm_step(W: Array, b_i: Array, U: Array, b_h: Array, x: Array, state: list[Array]) -> list[Array]:
    h, c = state
    W_i, W_f, W_g, W_o = np.split(W, 4)
    U_i, U_f, U_g, U_o = np.split(U, 4)
    b_ii, b_if, b_ig, b_io = np.split(b_i, 4)
    b_hi, b_hf, b_hg, b_ho = np.split(b_h, 4)
    i = sigmoid(W_i @ x + b_ii + U_i @ h + b_hi)
    f = sigmoid(W_f @ x + b_if + U_f @ h + b_hf)
    g = np.tanh(W_g @ x + b_ig + U_g @ h + b_hg)
    o = sigmoid(W_o @ x + b_io + U_o @ h + b_ho)
    c = f * c + i * g
    return [o * np.tanh(c), c]


def gru_step(W: Array, b_i: Array, U: Array, b_h: Array, x: Array, state: list[Array]) -> list[Array]:
    (h,) = state
    W_r, W_z, W_n = np.split(W, 3)
    U_r, U_z, U_n = np.split(U, 3)
    b_ir, b_iz, b_in = np.split(b_i, 3)
    b_hr, b_hz, b_hn = np.split(b_h, 3)
    r = sigmoid(W_r @ x + b_ir + U_r @ h + b_hr)
    z = sigmoid(W_z @ x + b_iz + U_z @ h + b_hz)
    n = np.tanh(W_n @ x + b_in + r * (U_n @ h + b_hn))
    return [(1 - z) * n + z * h]


def rnn_step(W: Array, b_i: Array, U: Array, b_h: Array, x: Array, state: list[Array]) -> list[Array]:
    return [np.tanh(W @ x + b_i + U @ state[0] + b_h)]


Step = Callable[..., list[Array]]
KINDS: dict[str, tuple[Any, Any, Step]] = {
    "LSTM": (LSTM, nn.LSTM, lstm_step),
    "GRU": (GRU, nn.GRU, gru_step),
    "RNN": (RNN, nn.RNN, rnn_step),
}


def unroll_by_hand(step: Step, core: StackedCore, inputs: Array, state: list[Array]) -> tuple[Array, list[Array]]:
    """Layer by layer, row by row, step by step; the state is a list of arrays (layers, rows, hidden)."""
    after = [tensor.copy() for tensor in state]
    values = inputs
    for index, layer in enumerate(core.layers):
        W, U, b_i, b_h = (
            getattr(layer, f"{name}_l0").detach().double().numpy()
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        outputs = np.empty((STEPS, ROWS, HIDDEN))
        for row in range(ROWS):
            current = [tensor[index, row] for tensor in state]
            for time in range(STEPS):
                current = step(W, b_i, U, b_h, values[time, row], current)
                outputs[time, row] = current[0]
            for tensor, value in zip(after, current, strict=True):
                tensor[index, row] = value
        values = outputs
    return values, after


def make(kind: str, layers: int, dtype: torch.dtype = torch.float64) -> tuple[StackedCore, Tensor, Any]:
    """A core, inputs and a state in the midst of a sequence.

    No matrix stretches any direction by much more than 1, or layer after layer and step after step would magnify what
    the first have rounded, in float32 to six times the tolerance and more.
    """
    torch.manual_seed(0)
    core = KINDS[kind][0](INPUTS, HIDDEN, layers).to(dtype)
    for parameter in core.parameters():
        nn.init.normal_(parameter, std=0.5 * parameter.shape[-1] ** -0.5)
    inputs = torch.randn(STEPS, ROWS, INPUTS, dtype=dtype)
    tensors = [torch.randn(layers, ROWS, HIDDEN, dtype=dtype) for _ in leaves(core.initial_state(ROWS))]
    return core, inputs, tuple(tensors) if kind == "LSTM" else tensors[0]


@pytest.mark.parametrize(
    ("kind", "layers", "dtype"),
    [
        ("LSTM", 2, torch.float64),
        ("GRU", 1, torch.float32),
        ("RNN", 3, torch.float64),
    ],
)
def test_a_core_computes_its_equations(kind: str, layers: int, dtype: torch.dtype) -> None:
    core, inputs, state = make(kind, layers, dtype)
    outputs, after = core(inputs, state)
    expected, expected_after = unroll_by_hand(
        KINDS[kind][2], core, inputs.double().numpy(), [tensor.double().numpy() for tensor in leaves(state)]
    )
    relative, absolute = TOLERANCES[dtype]
    np.testing.assert_allclose(outputs.detach().double().numpy(), expected, rtol=relative, atol=absolute)
    for tensor, wanted in zip(leaves(after), expected_after, strict=True):
        assert tensor.dtype == dtype
        np.testing.assert_allclose(tensor.detach().double().numpy(), wanted, rtol=relative, atol=absolute)


@pytest.mark.parametrize(("kind", "layers"), [("LSTM", 2), ("GRU", 3), ("RNN", 1)])
def test_values_and_gradients_are_those_of_torch_whole_or_in_pieces(kind: str, layers: int) -> None:
    core, inputs, state = make(kind, layers)
    other = KINDS[kind][1](INPUTS, HIDDEN, layers).double()
    renamed = {}
    for name, tensor in core.state_dict().items():  # layers.1.weight_ih_l0 is called weight_ih_l1 there
        _, index, parameter = name.split(".")
        renamed[f"{parameter.removesuffix('0')}{index}"] = tensor
    other.load_state_dict(renamed)
    found = []

    def in_pieces(reading: Tensor, state: Any) -> tuple[Tensor, Any]:
        first, between = core(reading[:1], state)  # a single step has a way of its own
        second, after = core(reading[1:], between)
        return torch.cat([first, second]), after

    for module in (core, other, in_pieces):
        core.zero_grad()
        reading = inputs.clone().requires_grad_()
        outputs, after = module(reading, state)
        torch.manual_seed(1)
        weighted = [(tensor * torch.randn_like(tensor)).sum() for tensor in [outputs, *leaves(after)]]
        torch.stack(weighted).sum().backward()
        learned = module if isinstance(module, nn.Module) else core
        found.append((outputs, leaves(after), reading.grad, list(gradients(learned).values())))
    assert_close(found[0], found[1])
    assert_close(found[2], found[1])
