"""With the exact gradient of the future in place of a prediction, short windows train like the whole sequence."""

from typing import Any

import pytest
import torch
from models import (
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
from sgrnn.synthesizers import GradientPredictor, Lookahead, Synthesizer

STEPS = 11
LAYOUTS = {  # window, lengths of the spans
    "one span": (3, [11]),
    "windows of a step": (1, [4, 4, 3]),
    "short last windows": (3, [5, 5, 1]),
    "even windows": (2, [6, 5]),
    "whole spans": (20, [4, 7]),
}
STARTS = {
    "none": None,
    "boundaries": [(0, 0), (6, 0), (6, 2)],
    "anywhere": [(0, 2), (1, 1), (4, 0), (5, 0), (5, 2), (10, 1)],
}
NONSENSE = 77.0


class Oracle(Synthesizer):
    """Predict the exact gradient, and nonsense where a sequence ends."""

    def __init__(self, states: list[Tensor], answers: list[Tensor]) -> None:
        super().__init__()
        self.states, self.answers = states, answers
        self.predictor: GradientPredictor

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        assert (lookahead is not None and lookahead.output_gradients is not None) is self.sees_output_gradients
        assert_close(to_matrix(state), self.states.pop(0))
        return (self.answers.pop(0) / self.predictor.scale).unsqueeze(1)


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
        boundaries = [*range(begin, begin + length, window), begin + length]
        wanted.append(torch.cat([to_matrix(states[step]).detach() for step in boundaries]))
        answers.append(torch.cat([futures[step] for step in boundaries]))
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
    lookahead: int = 0,
) -> list[Step]:
    state = make_state(model, whole.batch_size)
    expected, (full,) = train_on(BPTT(model, loss), [whole], state)
    oracle = make_oracle(model, loss, whole, state, window, lengths)
    oracle.lookahead, oracle.sees_output_gradients = lookahead, lookahead > 0
    estimator = SyntheticGradients(
        model, loss, window, synthesizer=oracle, remove_mean=False, remove_radial=False, shrinkage=False,
        parallel=parallel,
    ).double()  # fmt: skip
    object.__setattr__(oracle, "predictor", estimator.predictor)  # whose part it is
    found, steps = train_on(estimator, divide(whole, lengths, futures=futures), state)
    assert not oracle.answers, "every span was asked about"
    assert_close(found, expected)
    total = sum(step.loss * length for step, length in zip(steps, lengths, strict=True))
    assert_close(total, full.loss * whole.steps)
    assert_close(steps[-1].state, full.state)
    return steps


ALL_END = torch.ones(ROWS, dtype=torch.bool)


@pytest.mark.parametrize(
    ("core", "layout", "starts", "parallel"),
    [
        ("LSTM-2", "one span", "none", False),
        ("nn.GRU-1", "one span", "boundaries", True),
        ("GRU-2", "one span", "anywhere", False),
        ("RNN-3", "windows of a step", "none", True),
        ("nn.LSTM-2", "windows of a step", "boundaries", False),
        ("hierarchy 1, 4", "windows of a step", "anywhere", True),
        ("LSTM-2", "short last windows", "none", True),
        ("hierarchy 1, 2, 3", "short last windows", "boundaries", True),
        ("own", "short last windows", "anywhere", False),
        ("hierarchy 1, 4", "even windows", "none", True),
        ("own", "even windows", "boundaries", True),
        ("nn.RNN-1", "even windows", "anywhere", True),
        ("hierarchy 1, 2, 3", "whole spans", "none", False),
        ("LSTM-2", "whole spans", "anywhere", True),
    ],
)
def test_exact_gradients_at_the_boundaries_make_any_window_full(
    core: str, layout: str, starts: str, parallel: bool
) -> None:
    whole = make_span(STEPS, is_first=STARTS[starts], is_last=ALL_END)
    assert_same_as_full(make_core(core), squared_error, whole, *LAYOUTS[layout], parallel=parallel)


def test_so_they_do_for_a_language_model_whose_loss_has_parameters() -> None:
    model = make_language_model()
    whole = make_text(STEPS, is_first=STARTS["boundaries"], is_last=ALL_END)
    assert_same_as_full(model, model.loss, whole, *LAYOUTS["short last windows"], parallel=True)


def test_so_they_do_where_it_is_the_future_that_tells_of_an_end() -> None:
    whole = make_span(STEPS, is_first=STARTS["boundaries"], is_last=ALL_END)
    assert_same_as_full(make_core("GRU-2"), squared_error, whole, *LAYOUTS["even windows"], futures=True)


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


@pytest.mark.parametrize(
    ("layout", "starts", "parallel"), [("one span", "none", True), ("short last windows", "anywhere", False)]
)
def test_so_they_do_for_outputs_that_are_a_nest_of_which_the_loss_reads_a_part(
    layout: str, starts: str, parallel: bool
) -> None:
    whole = make_span(STEPS, is_first=STARTS[starts], is_last=ALL_END)
    assert_same_as_full(Outputs(), loss_of_nest, whole, *LAYOUTS[layout], parallel=parallel)


@pytest.mark.parametrize(
    ("kind", "layout", "lookahead", "parallel"),
    [
        ("text", "short last windows", 3, True),
        ("vectors", "windows of a step", 20, False),
        ("nest", "even windows", 1, True),
    ],
)
def test_so_they_do_where_output_gradients_ahead_are_asked_for(
    kind: str, layout: str, lookahead: int, parallel: bool
) -> None:
    language_model = make_language_model(tied=True)
    model, loss, make = {
        "text": (language_model, language_model.loss, make_text),
        "vectors": (make_core("LSTM-2"), squared_error, make_span),
        "nest": (Outputs(), loss_of_nest, make_span),
    }[kind]
    whole = make(STEPS, is_first=STARTS["anywhere"], is_last=ALL_END)
    assert_same_as_full(
        model, loss, whole, *LAYOUTS[layout], parallel=parallel, futures=True, lookahead=lookahead
    )  # fmt: skip


def test_then_the_predictions_are_what_arrives() -> None:
    whole = make_span(STEPS, is_first=STARTS["anywhere"], is_last=ALL_END)
    steps = assert_same_as_full(make_core("LSTM-2"), squared_error, whole, *LAYOUTS["short last windows"])
    ones = torch.ones(3, dtype=torch.float64)
    assert_close(torch.stack([step.metrics["target_r2"] for step in steps]), ones)
    assert_close(torch.stack([step.metrics["target_cosine"] for step in steps]), ones)


def test_a_single_row_needs_no_others() -> None:
    model = make_core("LSTM-1")
    whole = make_span(STEPS, rows=1, is_first=[(0, 0), (4, 0)], is_last=ALL_END[:1])
    assert_same_as_full(model, squared_error, whole, 3, [5, 6])
