"""A hierarchy is what its equations say, row by row and step by step, however it is cut and whatever rows it has."""

import re
from typing import Any

import pytest
import torch
from models import OwnCore, gradients, make_hierarchy, make_language_model, make_state, make_text, squared_error
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.cores import GRU, LSTM, RNN, HierarchicalCore
from sgrnn.estimators import SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.objective import gradients as arrived
from sgrnn.estimators.unroll import run
from sgrnn.models.evaluation import evaluate
from sgrnn.models.generation import generate
from sgrnn.span import Span
from sgrnn.state import State, concatenate, cut, floating_leaves, leaves, map_state, rows
from sgrnn.synthesizers import MLPSynthesizer
from sgrnn.synthesizers.interface import Interface

STEPS, ROWS, INPUTS = 13, 5, 3
SIZES = (4, 2, 3)


def make(periods: tuple[int, ...], kind: Any = LSTM, message_sizes: tuple[int, ...] | None = None) -> HierarchicalCore:
    torch.manual_seed(0)
    sizes = SIZES[: len(periods)]
    messages = message_sizes or sizes[1:]
    levels = [
        kind(below + message, size)
        for below, message, size in zip((INPUTS, *sizes), (*messages, 0), sizes, strict=False)
    ]
    core = HierarchicalCore(levels, periods, message_sizes=message_sizes).double()
    for parameter in core.parameters():
        nn.init.normal_(parameter, std=0.7)
    return core


def make_inputs(steps: int = STEPS, batch: int = ROWS) -> Tensor:
    return torch.randn(steps, batch, INPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def in_step(state: State, phase: int) -> State:
    """The state with all rows at one phase."""
    return {**state, "phase": torch.full_like(state["phase"], phase)}


def naive(core: HierarchicalCore, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """The definition: each row alone, step after step, each level that ticks."""
    found = []
    for row in range(inputs.shape[1]):
        now = rows(state, row, row + 1)
        step, messages, sums = int(now["phase"]), list(now["messages"]), list(now["summaries"])
        states, outputs = [now["fast"], *now["slow"]], []
        for x in inputs[:, row : row + 1]:
            step += 1
            for k, period in enumerate(core.periods):
                if step % period:
                    continue
                reading = x
                if k:
                    ticks = sum(u % core.periods[k - 1] == 0 for u in range(step - period + 1, step + 1))
                    reading, sums[k - 1] = sums[k - 1] / ticks, torch.zeros_like(sums[k - 1])
                said, states[k] = core.levels[k](torch.cat([reading, *messages[k : k + 1]], dim=-1)[None], states[k])
                if k:
                    messages[k - 1] = core.condition[k - 1](said[0])
                else:
                    outputs.append(said[0])
                if k < len(sums):
                    sums[k] = sums[k] + said[0]
        phase = torch.full_like(now["phase"], step % core.cycle)
        after = {"phase": phase, "messages": tuple(messages), "summaries": tuple(sums)}
        found.append((torch.stack(outputs), {**after, "slow": tuple(states[1:]), "fast": states[0]}))
    return torch.cat([outputs for outputs, _ in found], dim=1), concatenate([after for _, after in found])


def run_and_differentiate(function: Any, core: HierarchicalCore, inputs: Tensor, state: State) -> list[Any]:
    """Outputs and state, and all gradients of a weighted sum of them."""
    core.zero_grad()
    reading, first = inputs.clone().requires_grad_(), cut(state)
    outputs, after = function(reading, map_state(Tensor.clone, first))
    weights = torch.Generator().manual_seed(0)
    total = torch.zeros((), dtype=torch.float64)
    for tensor in [outputs, *floating_leaves(after)]:
        total = total + (tensor * torch.randn(tensor.shape, dtype=tensor.dtype, generator=weights)).sum()
    total.backward()
    return [outputs, leaves(after), reading.grad, arrived(first), gradients(core)]


def pieces(core: HierarchicalCore, lengths: list[int]) -> Any:
    def function(inputs: Tensor, state: State) -> tuple[Tensor, State]:
        outputs = []
        for part in inputs.split(lengths):
            out, state = core(part, state)
            outputs.append(out)
        return torch.cat(outputs), state

    return function


@pytest.mark.parametrize(
    ("periods", "kind", "message_sizes"),
    [
        ((1, 4), LSTM, None),
        ((1, 20), RNN, None),
        ((1, 3, 4), GRU, (5, 1)),
        ((1, 2, 4), nn.LSTM, None),
        ((1, 1, 5), LSTM, (5, 1)),
    ],
)
def test_outputs_states_and_gradients_are_those_of_the_definition(
    periods: tuple[int, ...], kind: Any, message_sizes: tuple[int, ...] | None
) -> None:
    core = make(periods, kind, message_sizes)
    inputs, state = make_inputs(), make_state(core, ROWS)
    assert len(set(state["phase"].flatten().tolist())) > 2, "rows of different phases"
    for begin in (state, in_step(state, 3), core.initial_state(ROWS)):
        expected = run_and_differentiate(lambda *given: naive(core, *given), core, inputs, begin)
        for function in (core, core.forward_plain, pieces(core, [3, 5, 1, 4])):
            assert_close(run_and_differentiate(function, core, inputs, begin), expected)


def test_with_all_periods_1_it_is_a_stack_in_which_each_layer_reads_the_one_above_a_step_late() -> None:
    core = make((1, 1, 1), GRU)
    cells = []
    for level in core.levels:
        assert isinstance(level, GRU)
        cell = nn.GRUCell(level.input_size, level.hidden_size).double()
        cell.load_state_dict({k.split(".")[-1].removesuffix("_l0"): v for k, v in level.state_dict().items()})
        cells.append(cell)
    hidden = [torch.zeros(ROWS, size, dtype=torch.float64) for size in SIZES]
    expected = []
    for x in make_inputs():
        before, below = list(hidden), x
        for k, cell in enumerate(cells):
            below = hidden[k] = cell(torch.cat([below, *before[k + 1 : k + 2]], dim=-1), before[k])
        expected.append(hidden[0])
    outputs, after = core(make_inputs(), core.initial_state(ROWS))
    assert_close(outputs, torch.stack(expected))
    assert_close([after["fast"][0], *(state[0] for state in after["slow"])], hidden)


class Level(OwnCore):
    """A user's core, told how many features it reads and gives."""

    input_size = hidden_size = 3


def test_levels_may_be_any_cores_a_hierarchy_among_them() -> None:
    torch.manual_seed(0)
    levels = [make_hierarchy(1, 2, kind=RNN), nn.LSTM(3 + 3, 5, proj_size=3), Level()]
    core = HierarchicalCore(levels, [1, 3, 4], message_sizes=[1, 3]).double()
    assert (core.input_size, core.hidden_size, core.cycle) == (2, 3, 12)
    assert HierarchicalCore([LSTM(4, 3), make_hierarchy(1, 3)], [1, 2], message_sizes=[2]).cycle == 6
    inputs, state = make_inputs()[..., :2], make_state(core, ROWS)
    for begin in (state, core.initial_state(ROWS)):
        expected = run_and_differentiate(lambda *given: naive(core, *given), core, inputs, begin)
        for function in (core, pieces(core, [3, 5, 1, 4])):
            assert_close(run_and_differentiate(function, core, inputs, begin), expected)


def test_a_sequence_begins_with_zeros_of_the_parameters_kind() -> None:
    state = make((1, 2, 4)).initial_state(ROWS)
    assert not any(tensor.any() for tensor in leaves(state))
    assert all(tensor.dtype == torch.float64 for tensor in floating_leaves(state))
    assert [tuple(tensor.shape) for tensor in (*state["messages"], *state["summaries"])] == [
        (ROWS, 2), (ROWS, 3), (ROWS, 4), (ROWS, 2)
    ]  # fmt: skip
    assert state["phase"].tolist() == [[0]] * ROWS
    assert all(tensor.is_meta for tensor in leaves(make((1, 2, 4)).to("meta").initial_state(ROWS)))


def test_rows_that_begin_anew_are_as_rows_that_begin() -> None:
    core = make((1, 2, 4))
    is_first = torch.zeros(STEPS, ROWS, dtype=torch.bool)
    is_first[3, 1] = is_first[7, 1] = is_first[4, 2] = True
    outputs, after = run(core, make_inputs(), make_state(core, ROWS), is_first)
    for row, begin in ((1, 7), (2, 4)):
        expected, last = core(make_inputs()[begin:, row : row + 1], core.initial_state(1))
        assert_close(outputs[begin:, row : row + 1], expected)
        assert_close(leaves(rows(after, row, row + 1)), leaves(last))


def test_in_step_the_fastest_level_runs_from_tick_to_tick_and_no_row_is_moved() -> None:
    core, calls = make((1, 4, 8)), []
    for k, level in enumerate(core.levels):
        level.register_forward_pre_hook(lambda module, given, k=k: calls.append((k, *given[0].shape[:2])))
    core(make_inputs(10), in_step(core.initial_state(ROWS), 3))
    fast, middle, slow = (0, 4, ROWS), (1, 1, ROWS), (2, 1, ROWS)
    assert calls == [(0, 1, ROWS), middle, fast, middle, slow, fast, middle, (0, 1, ROWS)]
    calls.clear()
    state = core.initial_state(ROWS)
    state["phase"][:2] = 4  # of the same phase but for the slowest level
    core(make_inputs(4), state)
    assert calls == [fast, middle, (2, 1, 2)]


def test_a_phase_gets_no_gradient_and_a_part_that_is_out_of_use_one_of_zero() -> None:
    core = make((1, 4))
    span = Span(make_inputs(1), torch.zeros(1, ROWS, SIZES[0], dtype=torch.float64))
    state = in_step(make_state(core, ROWS), 1)
    step = TruncatedBPTT(core, squared_error, 1).backward(span, state)
    assert step.state["phase"].tolist() == [[2]] * ROWS
    found = gradients(core)
    assert all(bool(gradient.any()) == name.startswith("levels.0") for name, gradient in found.items())
    expected = step.state["fast"][1].movedim(-2, 0).flatten(1).norm(dim=1).mean()
    assert_close(step.metrics["cell_norm"], expected)  # of the fastest level's cell


def test_a_language_model_over_it_is_evaluated_whatever_the_rows_and_generates() -> None:
    model = make_language_model(make_hierarchy(1, 4, 6))
    tokens = torch.randint(0, 11, (157,), generator=torch.Generator().manual_seed(0))
    expected = evaluate(model, tokens, 0, batch_size=1)
    for batch_size, chunk in ((3, 5), (20, 50), (157, 1)):
        assert evaluate(model, tokens, 0, batch_size=batch_size, chunk=chunk) == pytest.approx(expected, rel=1e-6)
    assert len(list(generate(model, [1, 2, 3], 9, seed=0))) == 9


def test_evaluation_finds_the_phases_at_once() -> None:
    model, begins = make_language_model(make_hierarchy(1, 4, 6)), []
    model.core.register_forward_pre_hook(lambda module, given: begins.append(given[1]["phase"].flatten().tolist()))
    evaluate(model, torch.zeros(3 * 25, dtype=torch.long), 0, batch_size=3)
    assert begins[:2] == 2 * [[0, 0, 0]], "rows of 36 steps, three cycles of 12"


REFUSED: list[tuple[list[tuple[int, int]], list[Any], dict[str, Any], str]] = [
    ([(3, 2)], [1], {}, "levels must be two or more, got 1"),
    ([(5, 2), (2, 2)], [1], {}, "periods must be one for each of the 2 levels, got 1"),
    ([(5, 2), (2, 2)], [1, 0], {}, "periods[1] must be at least 1 step, got 0"),
    ([(5, 2), (2, 2)], [-1, 2], {}, "periods[0] must be at least 1 step, got -1"),
    ([(5, 2), (2, 2)], [4, 1], {}, "periods[1] must be at least that of the level below, 4, got 1"),
    ([(5, 2), (2, 2)], [2, 4], {}, "periods[0] must be 1, since the fastest level reads every step, got 2"),
    (
        [(2, 2), (2, 2)], [1, 4], {},
        "levels[0].input_size must be above 2, the features of the message from level 1, to read anything else, "
        "got 2",
    ),
    (
        [(5, 2), (2, 2), (2, 3)], [1, 2, 4], {},
        "levels[1].input_size must be 5, for 2 outputs of level 0 and a message of 3 from level 2, got 2",
    ),
    ([(5, 2), (3, 2)], [1, 4], {}, "levels[1].input_size must be 2, for 2 outputs of level 0, got 3"),
    (
        [(5, 2), (2, 2)], [1, 4], {"message_sizes": [1, 1]},
        "message_sizes must be one for each level but the slowest, 1, got 2",
    ),
    ([(5, 2), (2, 2)], [1, 4], {"message_sizes": [0]}, "message_sizes[0] must be at least 1 feature, got 0"),
    (
        [(5, 2), (2, 2)], [1, 4], {"interfaces": []},
        "interfaces must be one for each level but the slowest, 1, got 0",
    ),
    ([(5, 2), (2, 2)], [1, 4.0], {}, "periods[1] must be a whole number, got 4.0"),
    ([(5, 2), (2, 2)], [1, "4"], {}, "periods[1] must be a whole number, got '4'"),
    ([(5, 2), (2, 2)], [1, 4], {"message_sizes": [2.0]}, "message_sizes[0] must be a whole number, got 2.0"),
    (
        [(5, 2), (2, 2)], [1, 4], {"interfaces": [Interface(MLPSynthesizer(7))]},
        "interfaces[0] must predict for the 2 outputs of level 0, got a synthesizer for 7",
    ),
]  # fmt: skip


def test_levels_that_do_not_fit_are_refused_by_name() -> None:
    for levels, periods, options, message in REFUSED:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            HierarchicalCore([LSTM(*sizes) for sizes in levels], periods, **options)
    message = r"^levels\[1\] must have the attribute hidden_size, a number, got a OwnCore$"
    with pytest.raises(ValueError, match=message):
        HierarchicalCore([LSTM(5, 2), OwnCore()], [1, 4])


def test_dropout_within_a_level_is_refused_where_windows_run_as_one_batch() -> None:
    core = HierarchicalCore([LSTM(3 + 2, 3), LSTM(3, 2, 2, dropout=0.5)], [1, 2])
    span = Span(torch.zeros(4, ROWS, 3), torch.zeros(4, ROWS, 3))
    message = (
        r"^running windows as one batch needs levels without dropout, whose masks would come in another order there, "
        r"got 0.5 in levels.1.dropout$"
    )
    with pytest.raises(ValueError, match=message):
        TruncatedBPTT(core, squared_error, 2, parallel=True).backward(span, core.initial_state(ROWS))
    TruncatedBPTT(core, squared_error, 2).backward(span, core.initial_state(ROWS))


def test_errors_are_carried_unit_by_unit_to_the_fastest_level_alone() -> None:
    model = make_language_model(make_hierarchy(1, 4))
    synthesizer = model.synthesizer(3)
    assert (synthesizer.others, synthesizer.repeats) == (4 + 5, 2), "its hidden and cell vector"
    estimator = SyntheticGradients(model, model.loss, 2, synthesizer=synthesizer).double()
    estimator.backward(make_text(6), make_state(model))
    assert all(gradient.any() for name, gradient in gradients(estimator).items() if name.startswith("synthesizer.gain"))
    assert model.adjoint_synthesizer(2).vectors == 1
