"""A boundary in anybody's training loop: synthetic gradients in the place of detach."""

from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from sgrnn.all_reduce import AllReduce
from sgrnn.contract.layout import require_real
from sgrnn.errors import at_least, require_kind
from sgrnn.estimators import drift
from sgrnn.estimators.features import require_size
from sgrnn.estimators.fitting import sample
from sgrnn.state import State, at_least_float32, detach, floating_leaves, from_matrix, map_state, state_size, to_matrix
from sgrnn.synthesizers import Interface, Lookahead, MLPSynthesizer
from sgrnn.synthesizers.interface import received, reply, told


@final
class Boundary(nn.Module):
    """Let synthetic gradients cross the boundaries between the windows of a training loop.

        state = boundary.enter(state)                           # in the place of detach
        outputs, state = core(inputs, state)
        (criterion(outputs, targets) + boundary.leave(state)).backward()

    `enter` cuts the graph; the gradient that arrives there in the backward pass is what the synthesizer learns from.
    `leave` gives a term of value zero, whose gradient is the synthetic one. Nothing else of the loop changes: any
    optimizer, clipping, autocast, a compiled core. The synthesizer's parameters, this module's, are stepped with the
    others. A loss that is scaled, by a GradScaler or for accumulation, is scaled together with what `leave` gives:
    ``scaler.scale(loss + boundary.leave(state))``, ``(loss + boundary.leave(state)) / parts``.

    With one window a span the numbers are those of `SyntheticGradients` with the same synthesizer. That one can look
    ahead at the output gradients beyond the window, which tells by far the most on text; a boundary knows the state,
    and what the loop tells it (`context`).

    Gradients are in units of the criterion's: if that is a mean, windows should have as many rows and steps. Every
    window that is entered is left, also one with which sequences end (`continuing`): so the boundary knows by what the
    loss is scaled.

    A window is gone through by one backward pass, of the sum of its losses. Where several streams take turns, as
    micro-batches whose gradients are accumulated, `enter` is given context and continuing, too: the last `leave` is
    another stream's.

    What is saved of it are parameters and running means, not what the last `leave` was told: who goes on in the midst
    of a sequence gives context and continuing to `enter` again.

    Args:
        core: any module ``core(inputs, state) -> (outputs, state)``; only the size of its state is read off it.
        context_size: features of the context, if `leave` is given one.
        synthesizer: of the state, and of the context as it is given; None for an `MLPSynthesizer`.
        remove_radial: remove what is injected along the state itself, against drift.
        shrinkage: multiply by `sgrnn.Shrinkage`; without, predictions are trusted from the first on.
        ema_decay: decay of the running means, per window.
        all_reduce: sums over the processes, where several share a batch as under DistributedDataParallel
            (`sgrnn.all_reduce`): running means are then those of all rows, and the gradients of the synthesizer's
            parameters, which no wrapper of the model knows of, are averaged. All processes must go through as many
            windows.
        example: some inputs (time, batch, ...), for a core whose layers do not tell what it reads.

    Raises:
        ValueError: context_size is negative, or given together with a synthesizer.
    """

    def __init__(
        self,
        core: nn.Module,
        *,
        context_size: int = 0,
        synthesizer: nn.Module | None = None,
        remove_radial: bool = True,
        shrinkage: bool = True,
        ema_decay: float = 0.99,
        all_reduce: AllReduce | None = None,
        example: Any = None,
    ) -> None:
        super().__init__()
        if synthesizer is not None and context_size:
            raise ValueError(
                f"context_size must be 0 with a synthesizer, which reads the context as it is given, got {context_size}"
            )
        self.context_size = context_size if synthesizer is None else None
        if synthesizer is None:
            at_least("context_size", context_size, 0)
            of_one = sample(core, example)
            steps, features = min(context_size, 1), context_size or None  # a context is read as a step ahead is
            synthesizer = MLPSynthesizer(state_size(of_one.state), lookahead=steps, feature_size=features)
            synthesizer.to(of_one.like.device, of_one.like.dtype)
        self.remove_radial = remove_radial
        self.interface = Interface(synthesizer, shrinkage=shrinkage, ema_decay=ema_decay, all_reduce=all_reduce)
        self._average_gradients()
        self._context: Any = None  # of the last boundary that was left
        self._continuing: Tensor | None = None
        self._factor: Tensor | float = 1.0  # of the loss, as the last backward pass had it

    def enter(self, state: State, context: Any = None, continuing: Tensor | None = None) -> State:
        """Return a state cut off from its graph, from which the synthesizer learns in the next backward pass.

        Args:
            state: before the window; None, where a sequence begins, is given back.
            context, continuing: as `leave` was given them at this boundary; None for those of the last `leave`.

        Raises:
            ValueError: the state is of another size, or the context of another; in the backward pass, that a second one
                reaches this boundary.
        """
        if not torch.is_grad_enabled():
            return None if state is None else detach(state)
        context = self._context if context is None else context
        continuing = self._continuing if continuing is None else continuing
        self._context = self._continuing = None
        if state is None:
            return None
        held = detach(state)
        sent = self._matrix(held)
        _require_rows(continuing, len(sent))
        predicted = self.interface.predict(held, self._known(context, len(sent)))
        answered: list[Tensor] = []
        entered = received(predicted, sent, partial(self._learn, rows=continuing, answered=answered))
        parts = iter(from_matrix(entered, held))

        def part(old: Tensor) -> Tensor:
            if not old.is_floating_point():
                return old
            # A copy, since torch lets nobody write into one of several views; contiguous, as cuDNN wants it.
            return next(parts).to(old.dtype).clone(memory_format=torch.contiguous_format)

        return map_state(part, held)

    def leave(self, state: State, context: Any = None, continuing: Tensor | None = None) -> Tensor:
        """Return zero, to be added to the window's loss: its gradient at the state is the synthetic one.

        Args:
            state: after the window, with its graph.
            context: (rows, context_size) what is known there of the steps to come, such as a label or the next inputs;
                it is kept for `enter`.
            continuing: (rows,) bool, rows whose sequence goes on; None where all do. Nothing is injected into the
                others, and nothing learned of them when the next window is entered. Their state is the loop's to set
                back, before `enter` or, so that a learned one has its gradient, after it.

        Raises:
            ValueError: the state has no graph, or state or context are of another size.
        """
        if not torch.is_grad_enabled():
            return floating_leaves(state)[0].new_zeros(())
        matrix = self._matrix(state)
        _require_rows(continuing, len(matrix))
        if not matrix.requires_grad:
            raise ValueError(
                "the state that a boundary is left with has no graph, so that a gradient would go nowhere: hand over "
                "what the core returned, before it is detached"
            )
        held = detach(state)
        with torch.no_grad():  # what is injected is a constant: `enter` predicts again, to learn
            gradient = self.interface.injected(self.interface.predict(held, self._known(context, len(matrix))))
        if self.remove_radial:
            gradient = drift.remove_radial(gradient, held)
        if continuing is not None:
            gradient = gradient * continuing.unsqueeze(1)
        self._context, self._continuing = told(context), continuing
        term = reply(matrix, gradient)
        term.register_hook(self._note)
        return term

    def metrics(self) -> dict[str, Tensor]:
        """Return running metrics of the quality of the predictions: ``target_r2`` and ``shrinkage``."""
        return self.interface.metrics()

    def _note(self, factor: Tensor) -> None:
        self._factor = factor.detach()

    def _learn(self, predicted: Tensor, arrived: Tensor, rows: Tensor | None, answered: list[Tensor]) -> Tensor:
        """Learn from a gradient in the criterion's units; what is returned is scaled as the loss is."""
        if answered:
            raise ValueError(
                "two backward passes reach one boundary, which learns from the sum of their gradients alone: add the "
                "losses up, for one backward pass"
            )
        answered.append(arrived)
        return self.interface.learn(predicted, arrived / self._factor, rows) * self._factor

    def _known(self, context: Any, rows: int) -> Any:
        """Return what the synthesizer is told beside the state."""
        if context is None and getattr(self.interface.predictor.synthesizer, "lookahead", 0):
            raise ValueError(
                "the synthesizer needs a context, got None: give it to leave, and to enter where no leave comes before "
                "it, or begin with state=None"
            )
        if context is None or self.context_size is None:
            return context
        if self.context_size == 0:
            raise ValueError("a boundary needs context_size to be given a context, or a synthesizer that reads it")
        found = tuple(context.shape) if isinstance(context, Tensor) else type(context).__name__
        if not isinstance(context, Tensor) or found != (rows, self.context_size):
            raise ValueError(f"context must be ({rows}, {self.context_size}), rows and context_size, got {found}")
        return Lookahead(at_least_float32(context.detach())[None], None)

    def _matrix(self, state: State) -> Tensor:
        require_real(state)
        require_size(self.interface.message_size, state)
        return at_least_float32(to_matrix(state))

    def _average_gradients(self) -> None:
        """Let the gradients of the synthesizer's parameters be the mean over the processes."""
        all_reduce = self.interface.predictor.all_reduce
        if all_reduce is not None:
            for parameter in filter(lambda parameter: parameter.requires_grad, self.interface.parameters()):
                parameter.register_hook(lambda gradient: all_reduce(gradient) / all_reduce(gradient.new_ones(())))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._average_gradients()  # a copy's parameters come without hooks


def _require_rows(continuing: Tensor | None, rows: int) -> None:
    if continuing is None:
        return
    require_kind("continuing", continuing, Tensor)
    if continuing.shape != (rows,) or continuing.dtype != torch.bool:
        raise ValueError(
            f"continuing must be ({rows},) bool, as many rows as the state, got {tuple(continuing.shape)} in "
            f"{continuing.dtype}: begin other rows than were left with state=None"
        )
