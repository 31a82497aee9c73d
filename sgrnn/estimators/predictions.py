"""What a synthesizer says at the boundaries of a span: at all of them at once, or from the last to the first."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sgrnn.estimators.rows import unbroken_rows
from sgrnn.span import Span
from sgrnn.state import State, batch_size, floating_leaves, rows, state_size
from sgrnn.synthesizers import AdjointSynthesizer
from sgrnn.synthesizers.lookahead import Lookahead

# From what was predicted at some boundaries, their states and open rows to what crosses them.
Inject = Callable[[Tensor, State, Tensor | None], Tensor]


@dataclass(frozen=True)
class Boundaries:
    """What is known at the K + 1 boundaries of the windows of a span, rows ordered boundary by boundary.

    Args:
        span: the span, of B rows.
        edges: the boundaries as steps into it.
        states: there, detached.
        open_rows: ((K + 1) x B,) bool, rows whose sequence goes on across the boundary; None where all do.
        lookahead: the steps ahead; None for a synthesizer that sees none.
    """

    span: Span
    edges: list[int]
    states: State
    open_rows: Tensor | None
    lookahead: Lookahead | None

    @property
    def windows(self) -> int:
        """K."""
        return len(self.edges) - 1

    def open_from(self, start: int, stop: int | None = None) -> Tensor | None:
        """`open_rows` from row `start` on."""
        return None if self.open_rows is None else self.open_rows[start:stop]


@dataclass(frozen=True)
class Predictions:
    """What was predicted.

    Args:
        injected: (K x B, features) what goes backwards from all boundaries but the first; None where nothing is to.
        after: (K x B, features) what was predicted there, in units of the target scale.
        trained: (K x B, heads, features) what is to be trained, the predictions at all boundaries but the last; or a
            function that makes it of what did arrive at the boundary after each, (K x B, features).
    """

    injected: Tensor | None
    after: Tensor
    trained: Tensor | Callable[[Tensor], Tensor]


def predict_at_once(
    synthesizer: nn.Module, follower: nn.Module | None, at: Boundaries, scale: Tensor, inject: Inject | None
) -> Predictions:
    """Ask at all boundaries at once.

    Args:
        synthesizer: M.
        follower: that is asked for what is injected, if there is one.
        at: the boundaries.
        scale: of the targets, in units of which predictions are.
        inject: makes what crosses; None for nothing.
    """
    # M is trained at all boundaries but the last, which has no target yet, and injects at all but the first, behind
    # which there is nothing. One pass serves both, unless it is the follower that injects.
    size = at.span.batch_size
    before, after_states, open_after = at.windows * size, rows(at.states, size, None), at.open_from(size)
    if follower is None:
        predicted = synthesizer(at.states, at.lookahead)
        require_predictions(predicted, at.states)
        after, predicted = predicted[size:, 0].detach(), predicted[:before]
    else:
        predicted = synthesizer(rows(at.states, 0, before), at.lookahead and at.lookahead.rows(0, before))
        with torch.no_grad():
            after = follower(after_states, at.lookahead and at.lookahead.rows(size, None))[:, 0]
    with torch.no_grad():
        if open_after is not None:
            after = after * open_after.unsqueeze(1)
        injected = None if inject is None else inject(scale * after, after_states, open_after)
    return Predictions(injected, after, predicted)


def predict_in_turn(
    synthesizer: AdjointSynthesizer, at: Boundaries, scale: Tensor, inject: Inject | None
) -> Predictions:
    """Ask from the last boundary to the first, each knowing what is injected at the one that follows.

    Args:
        synthesizer, at, scale, inject: as in `predict_at_once`.
    """
    assert at.lookahead is not None
    size = at.span.batch_size
    reading = synthesizer.look(at.states, at.lookahead)
    unbroken = unbroken_rows(at.span, at.edges)

    def trained(arrived: Tensor) -> Tensor:
        following = arrived / scale.clamp(min=1e-30)
        if unbroken is not None:
            following = following * unbroken
        return synthesizer.carry(reading.rows(0, at.windows * size), following).unsqueeze(1)

    if inject is None:
        return Predictions(None, reading.own[size:].detach(), trained)
    found: list[Tensor] = []
    injected: list[Tensor] = []
    with torch.no_grad():
        following = torch.zeros_like(reading.own[:size])
        for place in reversed(range(1, at.windows + 1)):
            here, stop = place * size, (place + 1) * size
            open_here = at.open_from(here, stop)
            if unbroken is not None and place < at.windows:
                following = following * unbroken[here:stop]
            found.append(synthesizer.carry(reading.rows(here, stop), following))
            if open_here is not None:
                found[-1] = found[-1] * open_here.unsqueeze(1)
            injected.append(inject(scale * found[-1], rows(at.states, here, stop), open_here))
            following = injected[-1] / scale.clamp(min=1e-30)
    return Predictions(torch.cat(injected[::-1]), torch.cat(found[::-1]), trained)


def require_size(synthesizer: nn.Module, states: State) -> None:
    """Refuse a synthesizer for a state of another size.

    Raises:
        ValueError: its attribute ``state_size`` is not that of the states, or these hold nothing to be predicted for.
    """
    if not floating_leaves(states):
        raise ValueError("the model must carry a floating-point state: without one no gradient crosses a boundary")
    size, found = getattr(synthesizer, "state_size", None), state_size(states)
    if size is not None and size != found:
        raise ValueError(
            f"synthesizer must predict for the {found} features of a row of the model's state (sgrnn.state_size), got "
            f"one for {size}"
        )


def require_predictions(predicted: Tensor, states: State) -> None:
    """Refuse predictions of another shape than the states have.

    Raises:
        ValueError: they are not (rows, heads, features).
    """
    rows_of, features = batch_size(states), state_size(states)
    if predicted.dim() != 3 or (predicted.shape[0], predicted.shape[2]) != (rows_of, features):
        raise ValueError(
            f"synthesizer must give (rows, heads, features), here ({rows_of}, ..., {features}), got "
            f"{tuple(predicted.shape)}"
        )
