"""With the exact gradient of the future in place of a prediction, short windows train like the whole sequence."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import (
    CORES,
    ROWS,
    SIZE,
    divide,
    make_core,
    make_language_model,
    make_span,
    make_state,
    make_text,
    run_by_hand,
    squared_error,
    train_on,
)
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.cores import initial_state
from sgrnn.estimators import BPTT, Loss, Step, SyntheticGradients
from sgrnn.span import Span
from sgrnn.state import State, floating_leaves, to_matrix
from sgrnn.synthesizers.lookahead import Lookahead

STEPS = 11
LAYOUTS = {  # window, lengths of the spans
    "one step, one span": (1, [11]),
    "ragged, one span": (3, [11]),
    "whole, one span": (11, [11]),
    "one step, three spans": (1, [4, 4, 3]),
    "ragged, three spans": (3, [5, 5, 1]),
    "even, two spans": (2, [6, 5]),
    "longer than the spans": (20, [4, 7]),
}
STARTS = {
    "no starts": None,
    "starts at edges": [(0, 0), (6, 0), (6, 2)],
    "starts anywhere": [(0, 2), (1, 1), (4, 0), (5, 0), (5, 2), (10, 1)],
}
NONSENSE = 77.0


class Oracle(nn.Module):
    """In the place of a synthesizer: says the exact gradient, and nonsense where a sequence ends."""

    def __init__(self, states: list[Tensor], answers: list[Tensor]) -> None:
        super().__init__()
        self.states, self.answers = states, answers
        self.lookahead, self.sees_errors = 0, False
        self.scale: Callable[[], Tensor]

    def forward(self, state: State, lookahead: Lookahead | None) -> Tensor:
        assert (lookahead is not None and lookahead.errors is not None) is self.sees_errors
        assert_close(to_matrix(state), self.states.pop(0))
        return (self.answers.pop(0) / self.scale()).unsqueeze(1)


def make_oracle(model: nn.Module, loss: Loss, whole: Span, state: State, window: int, lengths: list[int]) -> Oracle:
    total, states = run_by_hand(model, loss, whole, state)
    flat = [tensor for state in states[:-1] for tensor in floating_leaves(state)]
    found = iter(torch.autograd.grad(total, flat, allow_unused=True, materialize_grads=True))
    futures = [to_matrix([next(found) for _ in floating_leaves(state)]) for state in states[:-1]]
    if whole.is_first is not None:
        for future, is_first in zip(futures, whole.is_first, strict=True):
            assert not future[is_first].any(), "nothing comes back across the start of a sequence"
            future[is_first] = NONSENSE
    futures.append(torch.full_like(futures[0], NONSENSE))
    wanted, answers = [], []
    begin = 0
    for length in lengths:
        edges = [*range(begin, begin + length, window), begin + length]
        wanted.append(torch.cat([to_matrix(states[edge]).detach() for edge in edges]))
        answers.append(torch.cat([futures[edge] for edge in edges]))
        begin += length
    return Oracle(wanted, answers)


def assert_same_as_full(
    model: nn.Module,
    loss: Loss,
    whole: Span,
    window: int,
    lengths: list[int],
    *,
    parallel: bool = False,
    futures: bool = False,
    errors_ahead: int = 0,
) -> list[Step]:
    state = make_state(model, whole.batch_size)
    expected, (full,) = train_on(BPTT(), model, loss, [whole], state)
    oracle = make_oracle(model, loss, whole, state, window, lengths)
    oracle.lookahead, oracle.sees_errors = errors_ahead, errors_ahead > 0
    estimator = SyntheticGradients(
        window, oracle, remove_mean=False, remove_radial=False, shrinkage=False, parallel=parallel
    ).double()
    oracle.scale = estimator.mean_square.sqrt
    found, steps = train_on(estimator, model, loss, divide(whole, lengths, futures=futures), state)
    assert not oracle.answers, "every span was asked about"
    assert_close(found, expected)
    total = sum(step.loss * length for step, length in zip(steps, lengths, strict=True))
    assert_close(total, full.loss * whole.steps)
    assert_close(steps[-1].state, full.state)
    return steps


ALL_END = torch.ones(ROWS, dtype=torch.bool)


@pytest.mark.parametrize(("window", "lengths"), LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("core", CORES)
def test_exact_gradients_at_the_boundaries_make_any_window_full(core: str, window: int, lengths: list[int]) -> None:
    model = make_core(core)
    assert_same_as_full(model, squared_error, make_span(STEPS, is_last=ALL_END), window, lengths)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("is_first", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize(("window", "lengths"), LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("core", ["LSTM-2", "GRU-1", "nn.LSTM-2", "hierarchy 1, 4", "hierarchy 1, 2, 3", "own"])
def test_the_same_with_sequences_that_start_and_end_inside_and_windows_run_as_one_batch(
    core: str, window: int, lengths: list[int], is_first: list[tuple[int, int]] | None, parallel: bool
) -> None:
    model = make_core(core)
    whole = make_span(STEPS, is_first=is_first, is_last=ALL_END)
    assert_same_as_full(model, squared_error, whole, window, lengths, parallel=parallel)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("window", "lengths"), LAYOUTS.values(), ids=LAYOUTS)
def test_the_same_for_a_language_model_whose_loss_has_parameters(
    window: int, lengths: list[int], tied: bool, parallel: bool
) -> None:
    model = make_language_model(tied=tied)
    whole = make_text(STEPS, is_first=STARTS["starts at edges"], is_last=ALL_END)
    assert_same_as_full(model, model.loss, whole, window, lengths, parallel=parallel)


@pytest.mark.parametrize("is_first", STARTS.values(), ids=STARTS)
def test_the_same_where_it_is_the_future_that_tells_of_an_end(is_first: list[tuple[int, int]] | None) -> None:
    whole = make_span(STEPS, is_first=is_first, is_last=ALL_END)
    assert_same_as_full(make_core("GRU-2"), squared_error, whole, *LAYOUTS["even, two spans"], futures=True)


class Outputs(nn.Module):
    """A core whose outputs are a nest: a tensor that the loss reads twice, one it does not read, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.core = make_core("LSTM-2")
        self.unread = nn.Linear(SIZE, SIZE).double()

    def initial_state(self, batch_size: int) -> State:
        return initial_state(self.core, batch_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[dict[str, Any], State]:
        outputs, state = self.core(inputs, state)
        counts = torch.ones(*outputs.shape[:2], 1, dtype=torch.long)
        return {"read": (outputs, outputs.sin()), "unread": self.unread(outputs), "counts": counts}, state


def loss_of_nest(outputs: dict[str, Any], targets: Tensor) -> Tensor:
    first, second = outputs["read"]
    return squared_error(first, targets) + first.square().prod(dim=-1) + (second * targets).sum(dim=-1)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("is_first", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize(("window", "lengths"), LAYOUTS.values(), ids=LAYOUTS)
def test_the_same_for_outputs_that_are_a_nest_of_which_the_loss_reads_a_part(
    window: int, lengths: list[int], is_first: list[tuple[int, int]] | None, parallel: bool
) -> None:
    whole = make_span(STEPS, is_first=is_first, is_last=ALL_END)
    assert_same_as_full(Outputs(), loss_of_nest, whole, window, lengths, parallel=parallel)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 20])
@pytest.mark.parametrize(("window", "lengths"), LAYOUTS.values(), ids=LAYOUTS)
def test_the_same_where_the_errors_ahead_are_asked_for(
    window: int, lengths: list[int], steps: int, parallel: bool
) -> None:
    for model, loss, make in (
        (language_model := make_language_model(tied=True), language_model.loss, make_text),
        (make_core("LSTM-2"), squared_error, make_span),
        (Outputs(), loss_of_nest, make_span),
    ):
        whole = make(STEPS, is_first=STARTS["starts anywhere"], is_last=ALL_END)
        options: dict[str, Any] = {"parallel": parallel, "futures": True, "errors_ahead": steps}
        assert_same_as_full(model, loss, whole, window, lengths, **options)


def test_then_the_predictions_are_what_arrives() -> None:
    whole = make_span(STEPS, is_first=STARTS["starts anywhere"], is_last=ALL_END)
    steps = assert_same_as_full(make_core("LSTM-2"), squared_error, whole, *LAYOUTS["ragged, three spans"])
    ones = torch.ones(3, dtype=torch.float64)
    assert_close(torch.stack([step.metrics["target_r2"] for step in steps]), ones)
    assert_close(torch.stack([step.metrics["target_cosine"] for step in steps]), ones)


def test_a_single_row_needs_no_others() -> None:
    model = make_core("LSTM-1")
    whole = make_span(STEPS, rows=1, is_first=[(0, 0), (4, 0)], is_last=ALL_END[:1])
    assert_same_as_full(model, squared_error, whole, 3, [5, 6])
