"""Back-propagation through a whole span with the graph of one window at a time."""

from contextlib import nullcontext
from typing import Any, final

import torch
from torch import Tensor, nn

from sgrnn.contract.again import Moment
from sgrnn.contract.caller import Caller
from sgrnn.contract.layout import require_layout
from sgrnn.errors import at_least
from sgrnn.estimators.backward import differentiate_data
from sgrnn.estimators.estimator import GradientEstimator, Step, within_span
from sgrnn.estimators.objective import Loss, differentiate, norms, objective_of, penalizes_changes, require_apart, roots
from sgrnn.estimators.unroll import run, with_leaves
from sgrnn.span import Span
from sgrnn.state import State, at_least_float32, cut, detach, floating_leaves, map_state

_ANOTHER = 0.05  # of a state's norm: far above rounding, in half precision too, and far below other masks of dropout


@final
class Checkpointed(GradientEstimator):
    """Back-propagation through a whole span with the graph of one window at a time (Chen et al. 2016).

    The gradients of `BPTT`, but for rounding, for one more forward pass: the span is run without a graph, and the
    windows' first states are kept; then the windows run again, from the last to the first, each with its graph and its
    part of the loss, and each hands the gradient that arrives at its first state on to the window before. The last
    window runs once, and so do the output layer and the loss, as far as they are in `loss`.

    In memory are the graph of one window, with its outputs and losses, and K first states: least, together, for windows
    of about the square root of the span.

    A window that runs again draws what it drew before, torch's random generators being put back for it, and the model's
    buffers hold what they held; they are changed once. A model that draws from elsewhere, or remembers steps by itself,
    is refused. An interface inside the core learns of one window after another, from the last to the first.

    Args:
        model, loss: as `GradientEstimator`.
        window: steps whose graph is kept at a time. A gradient goes back through the whole span nevertheless: the
            attribute `window` is None.
    """

    def __init__(self, model: nn.Module, loss: Loss, window: int) -> None:
        super().__init__(model, loss)
        self.graph_steps = at_least("window", window, 1, "step")
        self._runs_alike = False  # as the first span shows

    @within_span
    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span, and add to the gradients of the model; see `GradientEstimator.backward`.

        Raises:
            ValueError: besides, the model cuts its state off, or comes to another state when it runs again, or the loss
                of a step depends on other steps.
        """
        given, state = self.begin(span, state)
        span = with_leaves(given)
        starts = range(0, span.steps, self.graph_steps)
        parts = [span.part(start, min(start + self.graph_steps, span.steps)) for start in starts]
        require_layout(self.model, span, state, windows={parts[0].steps, parts[-1].steps})
        caller, moment = Caller(self.model), None
        windows: list[tuple[Span, State, Moment | None]] = []
        joints: list[Any] = [None]
        joined = penalizes_changes(self.model)
        with torch.no_grad():
            for part in parts[:-1]:
                moment = Moment(self.model, span.device, moment)
                windows.append((part, state, moment))
                outputs, state = run(caller, part.inputs, state, part.is_first)
                joints.append(cut(outputs[-1:]) if joined else None)
        joint = joints.pop()
        objective, after, following = self._run_back(caller, span, parts[-1], state, joint)
        final_state = map_state(Tensor.contiguous, after)  # as cuDNN wants it
        while windows:
            part, state, moment = windows.pop()
            joint, next_joint = joints.pop(), joint
            loss, after, first = self._run_back(caller, span, part, state, joint, moment, following, next_joint)
            if not self._runs_alike:
                _require_alike(after, following)
            objective, following = objective + loss, first
        self._runs_alike = self._runs_alike or len(parts) > 1
        differentiate_data(given, span)
        return Step(objective, final_state, norms(final_state))

    def _run_back(
        self,
        caller: Caller,
        span: Span,
        part: Span,
        state: State,
        before: Any,
        moment: Moment | None = None,
        following: State = None,
        joint: Any = None,
    ) -> tuple[Tensor, State, State]:
        """Run a window forwards and backwards.

        Args:
            caller: of the model.
            span: the whole.
            part: the window.
            state: the state before it.
            before: the outputs of the step before it, to which the loss is differentiated too; None for no such step,
                or where nothing depends on it.
            moment: in which it ran for the first time; None if it has not.
            following: the first state of the window after it, with the gradient that arrived; None if there is none.
            joint: its own last outputs, as that window had them, with the gradient that arrived; None likewise.

        Returns:
            its part of the mean loss, the state after it, both detached, and its first state, with the gradient that
            arrived there.
        """
        first = cut(state)
        with nullcontext() if moment is None else moment.again():
            attached, last = run(caller, part.inputs, first, part.is_first)
        outputs = cut(attached)
        if 1 < part.steps < span.steps:
            require_apart(self, self.loss, outputs, part)
        objective = objective_of(self.model, self.loss, outputs, part, steps=span.steps, before=before)
        objective = objective.times(part.size / span.size)
        objective.trained.backward()
        injected = [] if following is None else roots(last, following)
        of_joint = [] if joint is None else roots(attached[-1:], joint)
        differentiate([*roots(attached, outputs), *of_joint, *injected])
        carries = following is not None and bool(floating_leaves(following))
        if carries and not (injected and any(leaf.grad is not None for leaf in floating_leaves(first))):
            raise ValueError(
                "the model cuts its state off, so that no gradient goes from one window back to the one before: it "
                "must hand the state back attached to the graph of the one that it is given (no detach(), no no_grad())"
            )
        return objective.loss, detach(last), first

    def extra_repr(self) -> str:
        return f"window={self.graph_steps}"


@torch.no_grad()
def _require_alike(again: State, before: State) -> None:
    """Refuse a model that came to one state when it ran, and to another when it ran again.

    Raises:
        ValueError: it did.
    """
    for now, then in zip(floating_leaves(again), floating_leaves(before), strict=True):
        now, then = at_least_float32(now), at_least_float32(then)
        if bool((now - then).norm() > _ANOTHER * then.norm()):
            raise ValueError(
                "the model comes to another state when it runs again from the same one, with torch's random generators "
                "and its buffers put back: it must draw from no other generator, and remember nothing outside of its "
                "state and its buffers"
            )
