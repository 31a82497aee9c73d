"""A core with a linear layer on top is a model for any estimator, and synthesizers can be made for it."""

import pytest
from models import OwnCore, gradients
from tolerances import assert_close, assert_identical
from torch import nn

from sgrnn import BPTT, LSTM, SyntheticGradients, TruncatedBPTT, initial_state
from sgrnn.state import leaves
from sgrnn.tasks import Copy, DelayedRecall, Readout


def test_predictions_are_linear_in_the_cores_outputs_and_the_loss_is_the_tasks() -> None:
    for core in (LSTM(9, 5, 2), nn.RNN(9, 5)):
        task = DelayedRecall(4, 2)
        model = Readout(core, 5, task.output_size, task.loss)
        state = model.initial_state(2)
        assert_identical(leaves(state), leaves(initial_state(core, 2)))
        episode = task.draw()
        outputs, after = model(episode.inputs, state)
        expected, expected_after = core(episode.inputs, state)
        assert_identical(outputs, expected)
        assert_identical(leaves(after), leaves(expected_after))
        predictions = expected @ model.output.weight.T + model.output.bias
        assert_close(model.predict(outputs), predictions)
        assert_close(model.loss(outputs, episode.targets), task.loss(predictions, episode.targets))


def test_a_core_of_the_users_own_keeps_its_first_state_and_says_what_it_reads() -> None:
    core, task = OwnCore(), Copy(4)
    assert_identical(
        leaves(Readout(core, 3, 2, task.loss, input_size=3).initial_state(4)), leaves(core.initial_state(4))
    )
    message = "^input_size must be given for a core without this attribute, got a OwnCore$"
    with pytest.raises(ValueError, match=message):
        Readout(core, 3, 2, task.loss)


def test_a_window_as_long_as_the_episode_is_the_whole_gradient() -> None:
    task = DelayedRecall(6, 3)
    model = Readout(LSTM(task.input_size, 5), 5, task.output_size, task.loss)
    episode = task.draw()
    found = []
    for estimator in (
        BPTT(model, model.loss),
        TruncatedBPTT(model, model.loss, 7),
        TruncatedBPTT(model, model.loss, 3),
    ):
        model.zero_grad()
        estimator.backward(episode, model.initial_state(3))
        found.append(gradients(model))
    assert_identical(found[1], found[0])
    reads = "core.layers.0.weight_ih_l0"
    assert found[0][reads][:, :-1].any()
    assert not found[2][reads][:, :-1].any()  # cut within the lag, nothing is learned of how to read a token


def test_errors_are_as_wide_as_the_states_vectors_whatever_the_task_asks_for() -> None:
    task = Copy(3, bits=2)
    model = Readout(LSTM(task.input_size, 5), 5, task.output_size, task.loss)
    for synthesizer in (model.synthesizer(2), model.adjoint_synthesizer(2)):
        assert synthesizer.gain is not None, "errors go back from unit to unit"
        step = SyntheticGradients(model, model.loss, 2, synthesizer=synthesizer).backward(
            task.draw(), model.initial_state(3)
        )
        assert step.loss.isfinite()
