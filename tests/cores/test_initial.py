"""Any core has a first state: its own, or zeros for torch's modules."""

import pytest
import torch
from models import OwnCore
from tolerances import assert_identical
from torch import nn

from sgrnn.cores import initial_state
from sgrnn.state import leaves


def test_torchs_modules_begin_with_the_zeros_they_take_by_default() -> None:
    for core in (nn.LSTM(3, 5, 2), nn.GRU(3, 5), nn.RNN(3, 5), nn.LSTM(3, 5, 2, proj_size=2)):
        core = core.double()
        inputs = torch.randn(2, 4, 3).double()
        state = initial_state(core, 4)
        assert not any(tensor.any() for tensor in leaves(state))
        expected, after = core(inputs)
        assert_identical(core(inputs, state), (expected, after))
        assert [tensor.shape for tensor in leaves(state)] == [tensor.shape for tensor in leaves(after)]


def test_a_module_of_its_own_is_asked() -> None:
    core = OwnCore()
    assert_identical(leaves(initial_state(core, 4)), leaves(core.initial_state(4)))


def test_a_module_that_knows_no_first_state_is_refused_by_name() -> None:
    message = r"^Linear has no initial_state\(batch_size\) and is no torch.nn.LSTM, GRU or RNN$"
    with pytest.raises(TypeError, match=message):
        initial_state(nn.Linear(3, 3), 4)


def test_what_reads_batch_first_or_backwards_is_refused() -> None:
    message = r"^a core reads time first and forwards only: batch_first and bidirectional must be False$"
    for core in (nn.LSTM(3, 5, batch_first=True), nn.GRU(3, 5, bidirectional=True)):
        with pytest.raises(TypeError, match=message):
            initial_state(core, 4)
