"""Synthesizers begin at zero, see what they say and nothing else, and are followed as their follower says."""

from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
import torch
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.synthesizers import ErrorSynthesizer, Follower, MLPSynthesizer
from sgrnn.synthesizers.lookahead import Lookahead, LookaheadEncoder, vector_features

ROWS, HIDDEN = 5, 4
SIZE = 2 * 2 * HIDDEN


def lstm_state(seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(2, ROWS, HIDDEN).double(), 3 * torch.randn(2, ROWS, HIDDEN).double() + 1


def ahead() -> Lookahead:
    torch.manual_seed(1)
    return Lookahead(torch.randn(3, ROWS, 2).double(), torch.randn(3, ROWS, 1).double(), None)


def make_synthesizer(
    hidden_sizes: tuple[int, ...] = (7,), *, lookahead: bool = False, **options: bool
) -> MLPSynthesizer:
    torch.manual_seed(2)
    encoder = LookaheadEncoder(3, vector_features, 3) if lookahead else None
    return MLPSynthesizer(SIZE, hidden_sizes, lookahead=encoder, **options).double()


def learned(synthesizer: MLPSynthesizer) -> MLPSynthesizer:
    """With a last layer that is not zero."""
    torch.manual_seed(3)
    nn.init.normal_(synthesizer.last.weight)
    nn.init.normal_(synthesizer.last.bias)
    return synthesizer


@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize("lookahead", [False, True])
@pytest.mark.parametrize("hidden_sizes", [(), (7,), (7, 6)])
def test_a_fresh_one_predicts_zero_for_every_row_and_head(
    hidden_sizes: tuple[int, ...], lookahead: bool, auxiliary: bool
) -> None:
    synthesizer = make_synthesizer(hidden_sizes, lookahead=lookahead, auxiliary=auxiliary)
    predicted = synthesizer(lstm_state(), ahead() if lookahead else None)
    assert_identical(predicted, torch.zeros(ROWS, 1 + auxiliary, SIZE, dtype=torch.float64))
    assert synthesizer.lookahead == (3 if lookahead else 0)
    predicted.backward(torch.ones_like(predicted))
    assert synthesizer.last.weight.grad is not None
    assert synthesizer.last.weight.grad.any(), "it can learn"


@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize("hidden_sizes", [(), (7,), (7, 6)])
def test_it_is_a_perceptron_on_every_vector_standardized_and_the_steps_ahead(
    hidden_sizes: tuple[int, ...], auxiliary: bool
) -> None:
    synthesizer = learned(make_synthesizer(hidden_sizes, lookahead=True, auxiliary=auxiliary))
    hidden, cell = lstm_state()
    parts = []
    for vectors in (hidden[0], hidden[1], cell[0], cell[1]):
        centered = vectors - vectors.mean(dim=1, keepdim=True)
        parts.append(centered / (centered.square().mean(dim=1, keepdim=True) + 1e-5).sqrt())
    assert synthesizer.encoder is not None
    values = torch.cat([*parts, synthesizer.encoder(ahead())], dim=1)
    layers = [module for module in synthesizer.hidden if isinstance(module, nn.Linear)]
    assert [layer.out_features for layer in layers] == list(hidden_sizes)
    for layer in layers:
        values = (values @ layer.weight.T + layer.bias).clamp(min=0)
    expected = values @ synthesizer.last.weight.T + synthesizer.last.bias
    found = synthesizer((hidden, cell), ahead())
    assert_close(found[:, 0], expected[:, :SIZE])
    assert_close(found.flatten(1), expected)


def test_without_standardizing_and_hidden_layers_it_is_linear_in_the_state() -> None:
    synthesizer = learned(make_synthesizer((), standardize=False))
    first, second = lstm_state(0), lstm_state(1)
    mixed = tuple(2 * a - 3 * b for a, b in zip(first, second, strict=True))
    bias = synthesizer.last.bias.view(1, 1, -1)
    assert_close(synthesizer(mixed) - bias, 2 * (synthesizer(first) - bias) - 3 * (synthesizer(second) - bias))


def test_the_scale_of_a_state_is_not_seen_unless_told() -> None:
    state = lstm_state()
    larger = tuple(100 * tensor for tensor in state)
    standardized, raw = learned(make_synthesizer()), learned(make_synthesizer(standardize=False))
    assert torch.allclose(standardized(larger), standardized(state), rtol=1e-3)
    assert not torch.allclose(raw(larger), raw(state), rtol=1e-1)


def test_rows_do_not_see_one_another() -> None:
    synthesizer = learned(make_synthesizer())
    hidden, cell = lstm_state()
    before = synthesizer((hidden, cell))
    cell[0, 2, 1] += 1
    moved = (synthesizer((hidden, cell)) - before).abs().amax(dim=(1, 2)) > 1e-9
    assert moved.tolist() == [False, False, True, False, False]


def test_counters_in_a_state_are_not_seen() -> None:
    hidden, cell = lstm_state()
    synthesizer = learned(make_synthesizer())
    counted = {"hidden": hidden, "count": torch.ones(ROWS, 1, dtype=torch.long), "cell": cell}
    assert_identical(synthesizer(counted), synthesizer((hidden, cell)))


AHEAD, INPUT_SIZE, RANK = 4, 2, 6
ERROR_KINDS: dict[str, dict[str, int]] = {
    "across units alone": {"error_size": 3},
    "from unit to unit too": {"error_size": HIDDEN},
    "one step near": {"error_size": HIDDEN, "near": 1},
    "all steps near": {"error_size": HIDDEN, "near": AHEAD + 5},
}
every_kind = pytest.mark.parametrize("kind", ERROR_KINDS)
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
    return min(ERROR_KINDS[kind].get("near", 2), AHEAD)


def errors_ahead(kind: str, valid: Tensor | None = None) -> Lookahead:
    torch.manual_seed(4)
    sizes = (INPUT_SIZE, 1, ERROR_KINDS[kind]["error_size"])
    inputs, targets, errors = (torch.randn(AHEAD, ROWS, size).double() for size in sizes)
    return Lookahead(inputs, targets, valid, errors)


def make_error_synthesizer(kind: str, **options: int) -> ErrorSynthesizer:
    """A fresh one, as a user makes it for vectors as inputs."""
    torch.manual_seed(2)
    options = {"steps": AHEAD, "hidden_size": 20, "rank": RANK, "projection": 5} | ERROR_KINDS[kind] | options
    error_size = options.pop("error_size")
    return ErrorSynthesizer(SIZE, error_size, lambda inputs: inputs, INPUT_SIZE, **options).double()


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
        return synthesizer(state, replace(lookahead, errors=errors)).sum(dim=(0, 1))

    jacobian = torch.autograd.functional.jacobian(predicted, lookahead.errors)
    assert isinstance(jacobian, Tensor)
    return jacobian.permute(1, 2, 0, 3).flatten(2)


@every_kind
def test_a_fresh_error_synthesizer_predicts_zero_and_can_learn(kind: str) -> None:
    synthesizer = make_error_synthesizer(kind)
    predicted = synthesizer(lstm_state(), errors_ahead(kind))
    assert_identical(predicted, torch.zeros(ROWS, 1, SIZE, dtype=torch.float64))
    assert (synthesizer.lookahead, synthesizer.sees_errors) == (AHEAD, True)
    predicted.backward(torch.ones_like(predicted))
    assert synthesizer.last.weight.grad is not None
    assert synthesizer.last.weight.grad.all()


@pytest.mark.parametrize("options", [{}, {"steps": 1}, {"hidden_size": 1, "rank": 1, "projection": 1}])
@every_kind
def test_all_of_a_learned_error_synthesizer_goes_on_learning(kind: str, options: dict[str, int]) -> None:
    synthesizer = learned_error_synthesizer(kind, **options)
    nn.init.constant_(synthesizer.state_projection.bias, 2.0)  # that its one unit is open
    whole, steps = errors_ahead(kind), synthesizer.lookahead
    assert whole.errors is not None
    ahead = Lookahead(whole.inputs[:steps], whole.targets[:steps], None, whole.errors[:steps])
    synthesizer(lstm_state(), ahead).square().sum().backward()
    for name, parameter in synthesizer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@every_kind
def test_it_is_the_sum_over_steps_of_errors_carried_back_as_its_docstring_says(kind: str) -> None:
    synthesizer, (hidden, cell), ahead = learned_error_synthesizer(kind), lstm_state(), errors_ahead(kind, VALID)
    assert ahead.errors is not None
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
                error = ahead.errors[step, row]
                gate = torch.ones(RANK, dtype=torch.float64)
                gain = synthesizer.gain_bias[step, 0] if kind != "across units alone" else torch.zeros(())
                if step < near_steps(kind):
                    read = (
                        read
                        + ahead.inputs[step, row] @ synthesizer.input_projection[step] @ synthesizer.input_weight[step]
                    )
                    gate = synthesizer.gate_bias[step, 0] + read.clamp(min=0) @ synthesizer.gate[step]
                    if kind != "across units alone":
                        gain = gain + read.clamp(min=0) @ synthesizer.gain[step]
                expected = expected + jacobian @ (gate * (error @ synthesizer.error_projection[step]))
                if kind != "across units alone":
                    expected = expected + gain * torch.cat([error, error, error, error])
        assert_close(found[row, 0], expected)


@pytest.mark.parametrize("valid", [None, VALID], ids=["all valid", "some valid"])
@every_kind
def test_it_is_linear_in_the_errors_and_zero_without_any(kind: str, valid: Tensor | None) -> None:
    synthesizer, state, ahead = learned_error_synthesizer(kind), lstm_state(), errors_ahead(kind, valid)

    def predicted(errors: Tensor) -> Tensor:
        return synthesizer(state, replace(ahead, errors=errors))

    assert ahead.errors is not None
    first, second = torch.randn(2, *ahead.errors.shape, dtype=torch.float64)
    assert_close(predicted(2 * first - 3 * second), 2 * predicted(first) - 3 * predicted(second))
    parts = [predicted(first * torch.eye(AHEAD)[step].view(-1, 1, 1)) for step in range(AHEAD)]
    assert_close(torch.stack(parts).sum(dim=0), predicted(first))
    assert not predicted(torch.zeros_like(first)).any()
    assert predicted(first)[VALID.any(dim=0)].all()


@pytest.mark.parametrize("changed", range(AHEAD))
@every_kind
def test_an_errors_coefficient_depends_on_the_inputs_up_to_its_step_and_on_none_later(kind: str, changed: int) -> None:
    synthesizer, state, ahead = learned_error_synthesizer(kind), lstm_state(), errors_ahead(kind)
    before = coefficients(synthesizer, state, ahead)
    inputs = ahead.inputs.clone()
    inputs[changed, 2] += 1
    moved = (coefficients(synthesizer, state, replace(ahead, inputs=inputs)) - before).abs().amax(dim=2)
    expected = torch.zeros(AHEAD, ROWS, dtype=torch.bool)
    expected[changed : near_steps(kind), 2] = True
    assert_identical(moved > 1e-6, expected)
    assert not moved[~expected].any(), "bit for bit"


@every_kind
def test_an_errors_coefficient_depends_on_the_state_but_on_no_error_and_no_target(kind: str) -> None:
    synthesizer, (hidden, cell), ahead = learned_error_synthesizer(kind), lstm_state(), errors_ahead(kind)
    before = coefficients(synthesizer, (hidden, cell), ahead)
    assert ahead.errors is not None
    others = replace(ahead, errors=ahead.errors - 5, targets=ahead.targets + 5)
    assert_identical(coefficients(synthesizer, (hidden, cell), others), before)
    cell[0, 2, 1] += 1
    moved = (coefficients(synthesizer, (hidden, cell), ahead) - before).abs().amax(dim=2) > 1e-6
    assert moved.tolist() == [[False, False, step < near_steps(kind), False, False] for step in range(AHEAD)]


@every_kind
def test_steps_that_are_not_valid_contribute_nothing_whatever_stands_there_and_no_row_sees_another(kind: str) -> None:
    synthesizer, state, ahead = learned_error_synthesizer(kind), lstm_state(), errors_ahead(kind, VALID)
    before = synthesizer(state, ahead)
    for step in range(AHEAD):
        for row in range(ROWS):
            for which in ("inputs", "errors", "targets"):
                values = getattr(ahead, which).clone()
                values[step, row] = 1e6
                moved = (synthesizer(state, replace(ahead, **{which: values})) - before).abs().amax(dim=(1, 2))
                seen = bool(VALID[step, row]) and (which == "errors" or (which == "inputs" and step < near_steps(kind)))
                assert [bool(one) for one in moved] == [other == row and seen for other in range(ROWS)]
    assert not before[~VALID.any(dim=0)].any()


@every_kind
def test_a_row_of_which_two_steps_are_valid_predicts_as_if_later_errors_were_zero(kind: str) -> None:
    synthesizer, state, ahead = learned_error_synthesizer(kind), lstm_state(), errors_ahead(kind)
    assert ahead.errors is not None
    short = torch.arange(AHEAD).unsqueeze(1).expand(AHEAD, ROWS) < 2
    silent = replace(ahead, errors=ahead.errors * short.unsqueeze(-1))
    assert_close(synthesizer(state, replace(ahead, valid=short)), synthesizer(state, silent))


@every_kind
def test_neither_the_scale_of_a_state_nor_a_counter_in_it_is_seen(kind: str) -> None:
    synthesizer, (hidden, cell), ahead = learned_error_synthesizer(kind), lstm_state(), errors_ahead(kind)
    expected = synthesizer((hidden, cell), ahead)
    assert torch.allclose(synthesizer((100 * hidden, 100 * cell), ahead), expected, rtol=1e-3, atol=1e-3)
    counted = {"hidden": hidden, "count": torch.ones(ROWS, 1, dtype=torch.long), "cell": cell}
    assert_identical(synthesizer(counted, ahead), expected)


@pytest.mark.parametrize("steps", [0, -2])
def test_an_error_synthesizer_that_sees_no_step_is_refused(steps: int) -> None:
    message = f"^steps must be at least 1, got {steps}: it sees nothing but the errors ahead$"
    with pytest.raises(ValueError, match=message):
        make_error_synthesizer("across units alone", steps=steps)


@pytest.mark.parametrize("near", [0, -1])
def test_an_error_synthesizer_whose_jacobians_see_nothing_is_refused(near: int) -> None:
    with pytest.raises(ValueError, match=f"^near must be at least 1 step, got {near}$"):
        make_error_synthesizer("across units alone", near=near)


class Fixed(nn.Module):
    """Predicts its one parameter."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor([value], dtype=torch.float64))

    def forward(self, state: Tensor, lookahead: None = None) -> Tensor:
        return self.value.expand(len(state), 1, 1)


def follow(leader: Fixed, follower: Follower, values: list[float]) -> list[float]:
    """What the copy predicts before each update, while the synthesizer takes on these values."""
    seen = []
    for value in values:
        seen.append(follower(torch.zeros(1, 1)).item())
        with torch.no_grad():
            leader.value.fill_(value)
        follower.follow()
    return seen


@pytest.mark.parametrize(
    ("rate", "every", "expected"),
    [
        (1.0, 1, [0, 1, 2, 3, 4, 5, 6]),
        (1.0, 3, [0, 0, 0, 3, 3, 3, 6]),
        (0.5, 1, [0, 0.5, 1.25, 2.125, 3.0625, 4.03125, 5.015625]),
        (0.5, 2, [0, 0, 1, 1, 2.5, 2.5, 4.25]),
    ],
)
def test_the_copy_goes_a_share_of_the_way_every_so_many_updates(rate: float, every: int, expected: list[float]) -> None:
    leader = Fixed(0.0)
    assert follow(leader, Follower(leader, rate, every), [1, 2, 3, 4, 5, 6, 7]) == expected


def test_a_copy_with_rate_1_is_the_synthesizer_bit_for_bit() -> None:
    leader = learned(make_synthesizer((7, 6)))
    follower = Follower(leader, 1.0, 1)
    assert_identical(follower(lstm_state()), leader(lstm_state()))
    learned(leader)
    for parameter in leader.parameters():
        nn.init.normal_(parameter)
    follower.follow()
    assert_identical(follower.copies, [parameter.detach() for parameter in leader.parameters()])
    assert_identical(follower(lstm_state()), leader(lstm_state()))


def test_the_copy_is_no_parameter_and_the_synthesizer_not_registered_twice() -> None:
    leader = make_synthesizer()
    holder = nn.ModuleDict({"leader": leader, "follower": Follower(leader, 0.1, 1)})
    assert [name for name, _ in holder.named_parameters()] == [
        f"leader.{name}" for name, _ in leader.named_parameters()
    ]
    assert len(list(holder["follower"].buffers())) == len(list(leader.parameters())) + 1


def test_a_saved_follower_goes_on_where_it_stood() -> None:
    values: list[float] = [1, 2, 3, 4, 5, 6, 7, 8]
    leader = Fixed(0.0)
    whole = follow(leader, Follower(leader, 0.5, 3), values)
    leader = Fixed(0.0)
    follower = Follower(leader, 0.5, 3)
    begun = follow(leader, follower, values[:4])
    file = BytesIO()
    torch.save((leader.state_dict(), follower.state_dict()), file)
    file.seek(0)
    saved_leader, saved = torch.load(file, weights_only=True)
    leader = Fixed(9.0)
    follower = Follower(leader, 0.5, 3)
    leader.load_state_dict(saved_leader)
    follower.load_state_dict(saved)
    assert begun + follow(leader, follower, values[4:]) == whole


@pytest.mark.parametrize(
    ("rate", "every", "message"),
    [
        (0.0, 1, r"rate must be in \(0, 1\], got 0.0"),
        (1.5, 1, r"rate must be in \(0, 1\], got 1.5"),
        (1.0, 0, "every must be at least 1 update, got 0"),
    ],
)
def test_a_follower_refuses_what_is_out_of_range(rate: float, every: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Follower(Fixed(0.0), rate, every)


@pytest.mark.parametrize("aligned", [3, 20])
def test_an_error_synthesizer_whose_aligned_part_is_none_of_the_state_is_refused(aligned: int) -> None:
    message = rf"^aligned_size must be a multiple of error_size, 4, up to state_size, 16, got {aligned}$"
    with pytest.raises(ValueError, match=message):
        ErrorSynthesizer(SIZE, HIDDEN, lambda inputs: inputs, 2, aligned_size=aligned)
