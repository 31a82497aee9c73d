"""The synthesizer of constants: what it predicts is the sum that its docstring says, and nothing else is in it."""

from typing import Any

import pytest
import torch
from models import SIZE, make_language_model
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.state import state_size
from sgrnn.synthesizers import DiagonalSynthesizer, ErrorSynthesizer, Lookahead

AHEAD, ROWS, OUTPUT = 3, 4, 2
STATE = torch.zeros(ROWS, 6, dtype=torch.float64)
VALID = torch.tensor([[True, True, False, True], [True, False, False, True], [True, False, False, False]])
KINDS: dict[str, dict[str, Any]] = {
    "gains": {},
    "gains of the last vectors": {"aligned_size": 4},
    "gains and a rank": {"rank": 5},
    "a rank alone": {"rank": 5, "aligned_size": 0},
}


def make_synthesizer(**options: Any) -> DiagonalSynthesizer:
    torch.manual_seed(0)
    return DiagonalSynthesizer(6, OUTPUT, lookahead=AHEAD, **options).double()


def learned(**options: Any) -> DiagonalSynthesizer:
    synthesizer = make_synthesizer(**options)
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter)
    return synthesizer


def steps_ahead(valid: Tensor | None = None) -> Lookahead:
    torch.manual_seed(1)
    return Lookahead(None, valid, torch.randn(AHEAD, ROWS, OUTPUT, dtype=torch.float64))


def by_hand(synthesizer: DiagonalSynthesizer, ahead: Lookahead) -> Tensor:
    """Unit by unit, step by step."""
    assert ahead.output_gradients is not None
    predicted = torch.zeros(ROWS, 1, 6, dtype=torch.float64)
    for row in range(ROWS):
        for step in range(AHEAD):
            if ahead.valid is not None and not ahead.valid[step, row]:
                continue
            gradient = ahead.output_gradients[step, row]
            for vector in range(synthesizer.repeats):
                for unit in range(OUTPUT):
                    place = synthesizer.others + vector * OUTPUT + unit
                    predicted[row, 0, place] += synthesizer.gain[step, 0, vector, unit] * gradient[unit]
            if rank := synthesizer.rank:
                crossing = synthesizer.last.weight[:, step * rank : (step + 1) * rank]
                predicted[row, 0] += crossing @ (gradient @ synthesizer.output_projection[step])
    return predicted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("valid", [None, VALID])
def test_it_is_the_sum_of_gains_times_output_gradients_and_of_what_crosses_units(
    kind: str, valid: Tensor | None
) -> None:
    synthesizer, ahead = learned(**KINDS[kind]), steps_ahead(valid)
    expected = by_hand(synthesizer, ahead)
    assert expected.any()
    assert_close(synthesizer(STATE, ahead), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_one_predicts_zero_and_begins_to_learn(kind: str) -> None:
    synthesizer = make_synthesizer(**KINDS[kind])
    predicted = synthesizer(STATE, steps_ahead())
    assert_identical(predicted, torch.zeros(ROWS, 1, 6, dtype=torch.float64))
    predicted.backward(torch.randn(predicted.shape, dtype=torch.float64))
    begin = {"gain", "last.weight"} & {name for name, _ in synthesizer.named_parameters()}
    assert begin
    for name, parameter in synthesizer.named_parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.all()) == (name in begin), name


def test_it_is_an_error_synthesizer_whose_network_says_nothing() -> None:
    """With the network's part zero, and nothing read but one step."""
    constants = learned(rank=5)
    error = ErrorSynthesizer(6, OUTPUT, 1, lookahead=AHEAD, rank=5, near=1, hidden_size=4).double()
    with torch.no_grad():
        nn.init.zeros_(error.gain)
        nn.init.zeros_(error.gate)
        error.gain_bias.copy_(constants.gain.flatten(2))
        error.output_projection.copy_(constants.output_projection)
        error.last.weight.copy_(constants.last.weight)
    ahead = steps_ahead(VALID)
    inputs = torch.randn(1, ROWS, 1, dtype=torch.float64)
    expected = error(torch.randn_like(STATE), Lookahead(inputs, ahead.valid, ahead.output_gradients))
    assert_close(constants(STATE, ahead), expected)


def test_a_models_own_has_gains_for_the_vectors_that_its_outputs_have_the_units_of() -> None:
    model = make_language_model()
    synthesizer = model.diagonal_synthesizer(5, rank=2)
    assert (synthesizer.lookahead, synthesizer.rank, synthesizer.reads) == (5, 2, 0)
    assert synthesizer.state_size == state_size(model.initial_state(1)) == 4 * SIZE
    assert synthesizer.gain.shape == (5, 1, 4, SIZE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lookahead": 0}, "lookahead must be at least 1 step, got 0"),
        ({"rank": -1}, "rank must be at least 0, got -1"),
        ({"aligned_size": 3}, "aligned_size must be a multiple of output_size, 4, up to state_size, 10, got 3"),
        ({"aligned_size": 12}, "aligned_size must be a multiple of output_size, 4, up to state_size, 10, got 12"),
        ({}, "rank must be at least 1 where no vector of the state is in the units of the outputs, 4, got 0"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        DiagonalSynthesizer(10, 4, **options)


def test_output_gradients_of_another_size_are_refused() -> None:
    message = "^output_size must be 2, the features of the model's outputs at a step, got 3$"
    with pytest.raises(ValueError, match=message):
        DiagonalSynthesizer(6, 3, lookahead=AHEAD).double()(STATE, steps_ahead())
