"""Models, spans and a synthesizer with which to look at the output gradients ahead, and these by plain autograd."""

from typing import Any, NamedTuple

import torch
from models import (
    ROWS,
    OwnCore,
    make_core,
    make_language_model,
    make_span,
    make_text,
    mark,
    squared_error,
)
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.cores import initial_state
from sgrnn.estimators import Loss
from sgrnn.span import Span
from sgrnn.state import State, detach, floating_leaves, map_state, to_matrix, where_rows
from sgrnn.synthesizers import Lookahead, Synthesizer
from sgrnn.synthesizers.lookahead import steps_after

STEPS = 7
STARTS = [(0, 0), (3, 1), (4, 2), (6, 0)]


class Layout(NamedTuple):
    """A window, how far is looked ahead, and how many steps are known after the span."""

    window: int
    lookahead: int
    future: int


BOUNDS: dict[str, dict[str, Any]] = {
    "all go on": {},
    "begin": {"is_first": STARTS},
    "begin, also ahead": {"is_first": STARTS, "later": [(0, 1), (1, 2)]},
    "begin and end": {"is_first": STARTS, "is_last": torch.tensor([False, True, True])},
    "all end": {"is_first": STARTS, "is_last": torch.ones(ROWS, dtype=torch.bool)},
}


class TwoOutputs(nn.Module):
    """A core of which the outputs are a nest: two tensors, one of several axes, and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.core = make_core("LSTM-1")

    def initial_state(self, batch_size: int) -> State:
        return initial_state(self.core, batch_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Any, State]:
        outputs, state = self.core(inputs, state)
        pairs = torch.stack([outputs.sin(), outputs.cos()], dim=-1)
        return (outputs, {"pairs": pairs, "count": torch.ones(*outputs.shape[:2], 1, dtype=torch.long)}), state


def loss_of_two(outputs: Any, targets: Tensor) -> Tensor:
    return squared_error(outputs[0], targets) + (outputs[1]["pairs"].prod(dim=-1) * targets).sum(dim=-1)


class Single(nn.Module):
    """A core of one output without an axis of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.core = make_core("GRU-1")

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, state = self.core(inputs, state)
        return outputs[..., 0], state


def loss_of_single(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets[..., 0]).square()


def make(kind: str) -> tuple[nn.Module, Loss]:
    match kind:
        case "language model":
            model = make_language_model(tied=True)
            return model, model.loss
        case "language model of an own core":
            torch.manual_seed(0)
            model = make_language_model(OwnCore())
            return model, model.loss
        case "two outputs":
            return TwoOutputs(), loss_of_two
        case "single output":
            return Single(), loss_of_single
        case _:
            return make_core(kind), squared_error


def make_data(kind: str, future: int, is_first: Any = None, later: Any = None, **rest: Any) -> Span:
    builder = make_text if kind.startswith("language model") else make_span
    known = builder(future, seed=8)
    after = Span(known.inputs, known.targets, mark(future, ROWS, [one for one in later or () if one[0] < future]))
    return builder(STEPS, is_first=is_first, future=after, **rest)


class Recorder(Synthesizer):
    """Keep what is asked, and predict nothing."""

    sees_output_gradients = True

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.lookahead = steps
        self.seen: list[Lookahead] = []

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        assert lookahead is not None
        self.seen.append(lookahead)
        return torch.zeros_like(to_matrix(state)).unsqueeze(1)


def with_leaves(outputs: Any, leaves: list[Tensor]) -> Any:
    """The same nest with other floating-point tensors."""
    remaining = iter(leaves)
    return map_state(lambda one: next(remaining) if one.is_floating_point() else one, outputs)


def gradients_step_by_step(
    model: nn.Module, loss: Loss, pieces: list[Span | None], state: State
) -> tuple[Tensor, State]:
    """(steps, ROWS, output_size): the gradient of each row's loss, and the state after the first piece."""
    steps, states = [], []
    has_initial = isinstance(model, nn.RNNBase) or callable(getattr(model, "initial_state", None))
    initial = initial_state(model, ROWS) if has_initial else map_state(torch.zeros_like, state)
    for span in filter(None, pieces):
        for step in range(span.steps):
            if span.is_first is not None:
                state = where_rows(span.is_first[step], initial, state)
            outputs, state = model(span.inputs[step : step + 1], detach(state))
            leaves = [tensor.detach().requires_grad_() for tensor in floating_leaves(outputs)]
            again = with_leaves(outputs, leaves)
            rows = [
                torch.autograd.grad(loss(again, span.targets[step : step + 1])[0, row], leaves) for row in range(ROWS)
            ]
            steps.append(
                torch.stack([torch.cat([part[0, row].flatten() for part in rows[row]]) for row in range(ROWS)])
            )
        states.append(detach(state))
    return torch.stack(steps), states[0]


def assert_handed_over(seen: Lookahead, span: Span, layout: Layout, expected: Tensor, unit: Tensor) -> None:
    """Each is the one by hand in a unit, at every valid step of every boundary row."""
    boundaries = [*range(0, STEPS, layout.window), STEPS]
    valid = steps_after(span, boundaries, layout.lookahead).valid
    assert seen.output_gradients is not None
    assert seen.output_gradients.shape == (layout.lookahead, len(boundaries) * ROWS, expected.shape[2])
    assert not seen.output_gradients.requires_grad
    compared = 0
    for number, boundary in enumerate(boundaries):
        for step in range(layout.lookahead):
            for row in range(ROWS):
                column = number * ROWS + row
                if valid is None or valid[step, column]:
                    assert_close(seen.output_gradients[step, column] * unit, expected[boundary + step, row])
                    compared += 1
    assert compared > 0
