"""A core with a linear layer on top is a model for any policy."""

import pytest
import torch
from models import OwnCore, gradients
from tolerances import assert_close, assert_identical
from torch import nn

from sgrnn import GRU, LSTM, Full, Truncated, initial_state
from sgrnn.state import leaves
from sgrnn.tasks import DelayedRecall, Readout


@pytest.mark.parametrize("core", [LSTM(3, 5, 2), GRU(3, 5), nn.LSTM(3, 5), nn.RNN(3, 5)], ids=lambda core: str(core))
def test_the_outputs_are_linear_in_the_cores(core: nn.Module) -> None:
    model = Readout(core, 5, 4)
    state = model.initial_state(2)
    assert_identical(leaves(state), leaves(initial_state(core, 2)))
    inputs = torch.randn(6, 2, 3)
    outputs, after = model(inputs, state)
    expected, expected_after = core(inputs, state)
    assert_close(outputs, expected @ model.output.weight.T + model.output.bias)
    assert_close(leaves(after), leaves(expected_after))


def test_a_core_of_the_users_own_keeps_its_first_state() -> None:
    core = OwnCore()
    assert_identical(leaves(Readout(core, 3, 2).initial_state(4)), leaves(core.initial_state(4)))


def test_a_window_as_long_as_the_episode_is_the_whole_gradient() -> None:
    task = DelayedRecall(6, 3)
    model = Readout(LSTM(task.input_size, 5), 5, task.output_size)
    episode = task.draw()
    found = []
    for policy in (Full(), Truncated(7), Truncated(3)):
        model.zero_grad()
        policy.backward(model, task.loss, episode, model.initial_state(3))
        found.append(gradients(model))
    assert_identical(found[1], found[0])
    reads = "core.layers.0.weight_ih_l0"
    assert found[0][reads][:, :-1].any()
    assert not found[2][reads][:, :-1].any()  # cut within the lag, nothing is learned of how to read a token


def test_the_loss_may_hold_the_linear_layer_instead() -> None:
    task = DelayedRecall(6, 3)
    model = Readout(LSTM(task.input_size, 5), 5, task.output_size)
    episode, state = task.draw(), model.initial_state(3)
    Full().backward(model, task.loss, episode, state)
    expected = gradients(model)
    model.zero_grad()
    Full().backward(model.core, lambda outputs, targets: task.loss(model.output(outputs), targets), episode, state)
    assert_close(gradients(model), expected)
