"""What all cores share: layers one upon another, dropout between them, states of zeros at the beginning."""

from typing import Any

import pytest
import torch
from tolerances import assert_close, assert_identical

from sgrnn.cores import GRU, LSTM, RNN
from sgrnn.cores.dropout import Dropout, recorded_masks
from sgrnn.state import leaves, map_state


@pytest.mark.parametrize(("kind", "tensors", "layers"), [(LSTM, 2, 1), (RNN, 1, 3)])
def test_a_sequence_begins_with_zeros_of_the_parameters_kind(kind: Any, tensors: int, layers: int) -> None:
    core = kind(4, 5, layers).double()
    state = core.initial_state(7)
    assert_identical(leaves(state), [torch.zeros(layers, 7, 5, dtype=torch.float64)] * tensors)
    assert isinstance(state, tuple) is (kind is LSTM)
    assert isinstance(core(torch.zeros(2, 7, 4).double(), state)[1], tuple) is (kind is LSTM)
    assert all(tensor.is_meta for tensor in leaves(kind(4, 5, layers).to("meta").initial_state(7)))


def test_dropout_is_between_layers_and_nowhere_else() -> None:
    torch.manual_seed(0)
    core = LSTM(4, 5, 3, dropout=0.5).double()
    inputs, state = torch.randn(6, 2, 4).double(), core.initial_state(2)
    assert isinstance(core.dropout, Dropout)
    with recorded_masks(core):
        outputs, after = core(inputs, state)
        masks = list(core.dropout.recording or [])
    assert [tuple(mask.shape) for mask in masks] == [(6, 2, 5)] * 2
    assert all((mask == 0).any() for mask in masks)
    values, is_last = inputs, []
    for index, layer in enumerate(core.layers):
        values = values if index == 0 else values * masks[index - 1]
        part = [tensor[index : index + 1] for tensor in leaves(state)]
        values, end = layer(values, tuple(part))
        is_last.append(leaves(end))
    assert_close(outputs, values)
    assert_close(leaves(after), [torch.cat(tensors) for tensors in zip(*is_last, strict=True)])


def test_there_is_no_dropout_in_evaluation_nor_around_a_single_layer() -> None:
    inputs = torch.randn(6, 2, 4)
    for core in (LSTM(4, 5, 3, dropout=0.5).eval(), GRU(4, 5, 1, dropout=0.5)):
        first, second = (core(inputs, core.initial_state(2))[0] for _ in range(2))
        assert_identical(first, second)
        core.dropout.p = 0.0
        assert_identical(core(inputs, core.initial_state(2))[0], first)


def test_numbers_out_of_range_are_refused() -> None:
    for kind, name, value in ((LSTM, "input_size", 0), (GRU, "hidden_size", -2), (RNN, "num_layers", 0)):
        with pytest.raises(ValueError, match=f"^{name} must be at least 1, got {value}$"):
            kind(**dict[str, Any]({"input_size": 3, "hidden_size": 3, "num_layers": 1} | {name: value}))
    with pytest.raises(ValueError, match=r"^dropout must be in \[0, 1\), got 1.0$"):
        LSTM(3, 3, 2, dropout=1.0)


@pytest.mark.parametrize(("kind", "layers"), [(LSTM, 2), (GRU, 1)])
def test_products_in_bfloat16_stay_near_and_leave_everything_else_as_it_is(kind: Any, layers: int) -> None:
    torch.manual_seed(0)
    exact, low = kind(8, 16, layers), kind(8, 16, layers, precision=torch.bfloat16)
    low.load_state_dict(exact.state_dict())
    inputs = torch.randn(6, 4, 8)
    state = map_state(torch.randn_like, exact.initial_state(4))
    found = []
    for core in (exact, low):
        read = inputs.clone().requires_grad_()
        outputs, after = core(read, state)
        outputs.square().sum().backward()
        found.append([outputs, *leaves(after), read.grad, *(parameter.grad for parameter in core.parameters())])
    for ours, theirs in zip(*reversed(found), strict=True):
        assert ours.dtype == torch.float32
        assert 0 < (ours - theirs).norm() < 0.03 * theirs.norm()
    low.eval()
    assert torch.equal(low(inputs, state)[0], exact(inputs, state)[0])


def test_a_state_of_another_core_is_refused() -> None:
    inputs, tensor = torch.zeros(2, 4, 3), torch.zeros(1, 4, 5)
    with pytest.raises(ValueError, match=r"^state must hold 2 tensors, hidden and cell, got 1$"):
        LSTM(3, 5)(inputs, tensor)
    with pytest.raises(ValueError, match=r"^state must hold 1 tensors, hidden, got 2$"):
        GRU(3, 5)(inputs, (tensor, tensor))
