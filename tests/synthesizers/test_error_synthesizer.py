"""The synthesizer is linear in output gradients ahead; their coefficients see the state and inputs up to their step."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.synthesizers import ErrorSynthesizer, Lookahead

ROWS, HIDDEN = 5, 4
SIZE = 2 * 2 * HIDDEN


def lstm_state(seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(2, ROWS, HIDDEN).double(), 3 * torch.randn(2, ROWS, HIDDEN).double() + 1


AHEAD, INPUT_SIZE, RANK = 4, 2, 6
KINDS: dict[str, dict[str, int]] = {
    "across units alone": {"output_size": 3},
    "from unit to unit too": {"output_size": HIDDEN},
    "all steps near": {"output_size": HIDDEN, "near": AHEAD + 5},
}
every_kind = pytest.mark.parametrize("kind", KINDS)
VALID = torch.tensor(
    [
        [True, True, False, True, True],
        [True, False, False, True, True],
        [True, False, False, False, True],
        [True, False, False, False, True],
    ]
)


def near_steps(kind: str) -> int:
    """Steps whose errors are carried back by Jacobians that see the state and the inputs."""
    return min(KINDS[kind].get("near", 2), AHEAD)


def steps_ahead(kind: str, valid: Tensor | None = None) -> Lookahead:
    torch.manual_seed(4)
    sizes = (INPUT_SIZE, KINDS[kind]["output_size"])
    inputs, gradients = (torch.randn(AHEAD, ROWS, size).double() for size in sizes)
    return Lookahead(inputs[: near_steps(kind)], valid, gradients)


def make_error_synthesizer(kind: str, **options: int) -> ErrorSynthesizer:
    """A fresh one, as a user makes it for vectors as inputs."""
    torch.manual_seed(2)
    options = {"lookahead": AHEAD, "hidden_size": 20, "rank": RANK, "projection": 5, "near": 2} | KINDS[kind] | options
    output_size = options.pop("output_size")
    return ErrorSynthesizer(SIZE, output_size, INPUT_SIZE, **options).double()


def learned_error_synthesizer(kind: str, **options: int) -> ErrorSynthesizer:
    """Random in all that begins at a constant."""
    synthesizer = make_error_synthesizer(kind, **options)
    begin_at_constants = [synthesizer.last.weight, synthesizer.gate_bias]
    if synthesizer.repeats:
        begin_at_constants += [synthesizer.gain, synthesizer.gain_bias]
    for parameter in begin_at_constants:
        nn.init.normal_(parameter)
    return synthesizer


def coefficients(synthesizer: ErrorSynthesizer, state: Any, lookahead: Lookahead) -> Tensor:
    """(AHEAD, ROWS, SIZE x error size) of every step's error in the prediction of its own row."""

    def predicted(errors: Tensor) -> Tensor:
        return synthesizer(state, replace(lookahead, output_gradients=errors)).sum(dim=(0, 1))

    jacobian = torch.autograd.functional.jacobian(predicted, lookahead.output_gradients)
    assert isinstance(jacobian, Tensor)
    return jacobian.permute(1, 2, 0, 3).flatten(2)


@pytest.mark.parametrize("kind", ["across units alone", "from unit to unit too"])
def test_a_fresh_one_predicts_zero_and_all_of_a_learned_one_learns(kind: str) -> None:
    synthesizer = make_error_synthesizer(kind)
    predicted = synthesizer(lstm_state(), steps_ahead(kind))
    assert_identical(predicted, torch.zeros(ROWS, 1, SIZE, dtype=torch.float64))
    assert (synthesizer.lookahead, synthesizer.reads) == (AHEAD, near_steps(kind))
    assert synthesizer.sees_output_gradients
    predicted.backward(torch.ones_like(predicted))
    assert synthesizer.last.weight.grad is not None
    assert synthesizer.last.weight.grad.all()
    learned = learned_error_synthesizer(kind)
    learned(lstm_state(), steps_ahead(kind)).square().sum().backward()
    for name, parameter in learned.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@every_kind
def test_it_is_the_sum_over_steps_of_output_gradients_carried_back_as_its_docstring_says(kind: str) -> None:
    synthesizer, (hidden, cell), ahead = learned_error_synthesizer(kind), lstm_state(), steps_ahead(kind, VALID)
    assert ahead.output_gradients is not None
    assert ahead.features is not None
    found = synthesizer((hidden, cell), ahead)
    assert found.shape == (ROWS, 1, SIZE)
    for row in range(ROWS):
        vectors = torch.stack([hidden[0, row], hidden[1, row], cell[0, row], cell[1, row]])
        centered = vectors - vectors.mean(dim=1, keepdim=True)
        units = (centered / (centered.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()).flatten()
        read = synthesizer.state_projection.weight @ units + synthesizer.state_projection.bias
        expected = torch.zeros(SIZE, dtype=torch.float64)
        for step, jacobian in enumerate(synthesizer.last.weight.split(RANK, dim=1)):
            if VALID[step, row]:
                error = ahead.output_gradients[step, row]
                gate = torch.ones(RANK, dtype=torch.float64)
                gain = synthesizer.gain_bias[step, 0] if kind != "across units alone" else torch.zeros(())
                if step < near_steps(kind):
                    read = (
                        read
                        + ahead.features[step, row]
                        @ synthesizer.input_projection[step]
                        @ synthesizer.input_weight[step]
                    )
                    gate = synthesizer.gate_bias[step, 0] + read.clamp(min=0) @ synthesizer.gate[step]
                    if kind != "across units alone":
                        gain = gain + read.clamp(min=0) @ synthesizer.gain[step]
                expected = expected + jacobian @ (gate * (error @ synthesizer.output_projection[step]))
                if kind != "across units alone":
                    expected = expected + gain * torch.cat([error, error, error, error])
        assert_close(found[row, 0], expected)


@pytest.mark.parametrize("kind", ["across units alone", "all steps near"])
def test_a_coefficient_depends_on_the_state_and_the_inputs_up_to_its_step_and_on_nothing_else(kind: str) -> None:
    synthesizer, (hidden, cell), ahead = learned_error_synthesizer(kind), lstm_state(), steps_ahead(kind)
    assert ahead.features is not None
    assert ahead.output_gradients is not None
    before = coefficients(synthesizer, (hidden, cell), ahead)
    for changed in range(near_steps(kind)):
        inputs = ahead.features.clone()
        inputs[changed, 2] += 1
        moved = (coefficients(synthesizer, (hidden, cell), replace(ahead, features=inputs)) - before).abs().amax(dim=2)
        expected = torch.zeros(AHEAD, ROWS, dtype=torch.bool)
        expected[changed : near_steps(kind), 2] = True
        assert_identical(moved > 1e-6, expected)
        assert not moved[~expected].any(), "bit for bit"
    others = replace(ahead, output_gradients=ahead.output_gradients - 5)
    assert_identical(coefficients(synthesizer, (hidden, cell), others), before)
    cell[0, 2, 1] += 1
    moved = (coefficients(synthesizer, (hidden, cell), ahead) - before).abs().amax(dim=2) > 1e-6
    assert moved.tolist() == [[False, False, step < near_steps(kind), False, False] for step in range(AHEAD)]


@pytest.mark.parametrize("kind", ["from unit to unit too"])
def test_steps_that_are_not_valid_contribute_nothing_whatever_stands_there_and_no_row_sees_another(kind: str) -> None:
    synthesizer, state, ahead = learned_error_synthesizer(kind), lstm_state(), steps_ahead(kind, VALID)
    before = synthesizer(state, ahead)
    for step in range(AHEAD):
        for row in range(ROWS):
            for which in ("features", "output_gradients"):
                values = getattr(ahead, which).clone()
                if step >= len(values):
                    continue
                values[step, row] = 1e6
                moved = (synthesizer(state, replace(ahead, **{which: values})) - before).abs().amax(dim=(1, 2))
                seen = bool(VALID[step, row])
                assert [bool(one) for one in moved] == [other == row and seen for other in range(ROWS)]
    assert not before[~VALID.any(dim=0)].any()


@pytest.mark.parametrize("kind", ["from unit to unit too"])
def test_neither_the_scale_of_a_state_nor_a_counter_in_it_is_seen(kind: str) -> None:
    synthesizer, (hidden, cell), ahead = learned_error_synthesizer(kind), lstm_state(), steps_ahead(kind)
    expected = synthesizer((hidden, cell), ahead)
    assert torch.allclose(synthesizer((100 * hidden, 100 * cell), ahead), expected, rtol=1e-3, atol=1e-3)
    counted = {"hidden": hidden, "count": torch.ones(ROWS, 1, dtype=torch.long), "cell": cell}
    assert_identical(synthesizer(counted, ahead), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lookahead": 0}, "lookahead must be at least 1 step, got 0: it sees nothing but what is ahead"),
        ({"near": 0}, "near must be at least 1 step, got 0"),
        ({"aligned_size": 3}, "aligned_size must be a multiple of output_size, 4, up to state_size, 16, got 3"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        ErrorSynthesizer(SIZE, HIDDEN, INPUT_SIZE, **options)
