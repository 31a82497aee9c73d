"""The entrance equals what one would write by hand: the ten lines and the drop-in, number for number."""

from typing import Any

import pytest
import torch
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

import sgrnn
from sgrnn.state import map_state

STEPS, ROWS, FEATURES, HIDDEN, WINDOW = 23, 4, 2, 5, 5  # the last window has 3 steps


def made(kind: Any = nn.LSTM) -> tuple[nn.Module, nn.Linear, Tensor, Tensor]:
    """Core, head, inputs and targets, always the same."""
    torch.manual_seed(0)
    core, head = kind(FEATURES, HIDDEN).double(), nn.Linear(HIDDEN, 1).double()
    inputs = torch.randn(STEPS, ROWS, FEATURES, dtype=torch.float64)
    return core, head, inputs, inputs.cumsum(0).sum(2, keepdim=True).sin()


def run_ten_lines(
    estimator: sgrnn.GradientEstimator, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor
) -> tuple[list[Tensor], Any]:
    """Losses of the spans, and the last state."""
    state, losses = None, []
    for span in sgrnn.spans(inputs, targets, steps=WINDOW, lookahead=estimator.lookahead):
        step = estimator.backward(span, state)
        optimizer.step()
        optimizer.zero_grad()
        state = step.state
        losses.append(step.loss)
    return losses, state


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_ten_lines_that_truncate_are_the_loop_with_detach(kind: Any) -> None:
    core, head, inputs, targets = made(kind)
    optimizer = torch.optim.Adam([*core.parameters(), *head.parameters()])
    state, by_hand = None, []
    for start in range(0, STEPS, WINDOW):
        outputs, state = core(inputs[start : start + WINDOW], state)
        loss = (head(outputs) - targets[start : start + WINDOW]).square().sum(-1).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        state = map_state(Tensor.detach, state)
        by_hand.append(loss.detach())
    expected = [*core.parameters(), *head.parameters()], state

    core, head, inputs, targets = made(kind)

    def loss_of(outputs: Tensor, targets: Tensor) -> Tensor:
        return (head(outputs) - targets).square().sum(-1)

    estimator = sgrnn.TruncatedBPTT(core, loss_of, window=WINDOW)
    optimizer = torch.optim.Adam([*core.parameters(), *head.parameters()])
    losses, state = run_ten_lines(estimator, optimizer, inputs, targets)
    assert_close(losses, by_hand)
    assert_close(([*core.parameters(), *head.parameters()], state), expected)


def train_with_spans(repeats: int, **options: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Losses and last parameters of the ten lines, on a long sequence."""
    core, head, inputs, targets = made()
    torch.manual_seed(1)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (head(outputs) - targets).square().sum(-1)

    estimator = sgrnn.SyntheticGradients(core, loss, window=WINDOW, **options).double()
    learned = [*core.parameters(), *head.parameters(), *estimator.parameters()]
    optimizer = torch.optim.SGD(learned, lr=0.1)
    inputs, targets = inputs[:20].repeat(repeats, 1, 1), targets[:20].repeat(repeats, 1, 1)
    losses, _ = run_ten_lines(estimator, optimizer, inputs, targets)
    return losses, [parameter.detach() for parameter in learned]


def train_with_boundary(repeats: int) -> tuple[list[Tensor], list[Tensor]]:
    """Losses and last parameters of a loop by hand, with a boundary in the place of detach."""
    core, head, inputs, targets = made()
    torch.manual_seed(1)
    boundary = sgrnn.Boundary(core).double()
    learned = [*core.parameters(), *head.parameters(), *boundary.parameters()]
    optimizer = torch.optim.SGD(learned, lr=0.1)
    inputs, targets = inputs[:20].repeat(repeats, 1, 1), targets[:20].repeat(repeats, 1, 1)
    state, losses = None, []
    for start in range(0, len(inputs), WINDOW):
        state = boundary.enter(state)
        outputs, state = core(inputs[start : start + WINDOW], state)
        loss = (head(outputs) - targets[start : start + WINDOW]).square().sum(-1).mean()
        going_on = torch.full((ROWS,), start + WINDOW < len(inputs))
        (loss + boundary.leave(state, continuing=going_on)).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return losses, [parameter.detach() for parameter in learned]


def test_the_drop_in_is_the_estimator_with_one_window_a_span() -> None:
    def of_state_alone() -> sgrnn.MLPSynthesizer:
        torch.manual_seed(1)
        return sgrnn.MLPSynthesizer(2 * HIDDEN)

    found, expected = train_with_boundary(8), train_with_spans(8, synthesizer=of_state_alone())
    assert_close(found, expected)
    truncated = train_with_spans(8, synthesizer=of_state_alone(), discount=0.0)
    assert abs(found[0][-1] - truncated[0][-1]) > 1e-6, "something crosses the boundaries"


def test_sizes_that_are_read_off_the_model_are_those_given_by_hand() -> None:
    torch.manual_seed(1)
    by_hand = sgrnn.ErrorSynthesizer(2 * HIDDEN, HIDDEN, FEATURES, lookahead=8, aligned_size=2 * HIDDEN)
    assert_identical(train_with_spans(2), train_with_spans(2, synthesizer=by_hand))
