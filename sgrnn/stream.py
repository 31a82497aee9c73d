"""Learning from a stream: a prediction and an update at every step, and no future asked for."""

from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.modules import evaluating, forked_random, tensor_of
from sgrnn.cores import first_state
from sgrnn.estimators import Delayed, GradientEstimator, Loss, SyntheticGradients
from sgrnn.estimators.objective import losses_of
from sgrnn.estimators.unroll import run
from sgrnn.readings import StreamStep, count_rows, one_step, require_marks
from sgrnn.span import Span, Steps
from sgrnn.state import State, batch_size, detach, leaves, map_state, moved


@final
class Stream:
    """Predict and learn step by step, from data that come one step at a time.

        stream = sgrnn.Stream(core, loss, optimizer, delay=8)
        for inputs, targets in source:              # (rows, ...) each
            step = stream.step(inputs, targets)     # step.outputs and step.loss are from before it was learned

    Every step is followed by an update: from its own loss, and from a synthetic gradient for the step n steps before,
    whose consequences have been seen by now (`sgrnn.Delayed`). The synthesizer's parameters are the stream's own,
    trained by Adam; those of core and loss are stepped by the optimizer that is given.

    Memory does not grow with the stream. What `state_dict` gives, with the states of core, optimizer and whatever the
    loss holds, goes on as if nothing had happened, to the bit.

    Args:
        core: ``core(inputs, state) -> (outputs, state)``, time first, as everywhere.
        loss: ``loss(outputs, targets) -> (time, rows)``, a loss per step and row, not averaged.
        optimizer: of the parameters of core and loss.
        window: T, steps between two updates, back-propagated together.
        delay: n, steps after which the synthetic gradient of a window comes.
        estimator: makes another estimator of core and loss, in the place of window and delay, such as
            ``lambda core, loss: sgrnn.TruncatedBPTT(core, loss, window=20)``. There is an update after every window, or
            after `every` steps, if the estimator has an attribute of that name.
        synthesizer_rate: learning rate of the estimator's own parameters.
        clip: largest norm of the gradient of the optimizer's parameters; None for any.
        example: some inputs (time, rows, ...), for a core whose layers do not tell what it reads.

    Raises:
        ValueError: the estimator looks ahead, beyond what a stream has.
    """

    def __init__(
        self,
        core: nn.Module,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        *,
        window: int = 1,
        delay: int = 8,
        estimator: Callable[[nn.Module, Loss], GradientEstimator] | None = None,
        synthesizer_rate: float = 1e-3,
        clip: float | None = None,
        example: Any = None,
    ) -> None:
        self.core, self.loss, self.optimizer, self.clip = core, loss, optimizer, clip
        if estimator is None:
            synthetic = SyntheticGradients(core, self._loss, window, lookahead=delay, example=example)
            self.estimator: GradientEstimator = Delayed(synthetic)
        else:
            self.estimator = estimator(core, self._loss)
        if self.estimator.lookahead:
            raise ValueError(
                f"a stream has no future, and the estimator looks {self.estimator.lookahead} steps ahead: let its "
                "gradients come later (sgrnn.Delayed)"
            )
        self.every = int(getattr(self.estimator, "every", None) or self.estimator.window or 1)
        own = list(self.estimator.parameters())
        self.synthesizer_optimizer = torch.optim.Adam(own, synthesizer_rate, fused=True) if own else None
        self.state: State = None  # before the next step
        self._before: State = None  # before the first of the steps that wait for an update
        self._waiting: list[Span] = []
        self._answered: list[Tensor | None] = []  # (rows,) bool of these steps, None for all
        self._present: Tensor | None = None  # (rows,) bool of the last step, None for all
        self._blank: Steps = None  # targets of zeros, once it is known what targets look like
        self._seen: tuple[Any, Tensor] = (None, torch.empty(0))  # outputs and losses of the last update, (time, rows)

    def step(
        self,
        inputs: Steps,
        targets: Steps = None,
        *,
        is_first: Tensor | None = None,
        present: Tensor | None = None,
        answered: Tensor | None = None,
    ) -> StreamStep:
        """Predict, compare with the answer, and learn.

        Args:
            inputs: (rows, ...), or a nest of such tensors.
            targets: (rows, ...) likewise; None where no row has an answer. Until the first answer of
                all such a step is predicted and no more; to be credited later it takes targets of zeros and `answered`.
            is_first: (rows,) bool, rows that begin anew with this step. With the first step all do.
            present: (rows,) bool, False for rows that are away, whose readings mean nothing. A row that comes back
                begins anew.
            answered: (rows,) bool, False for rows without an answer, whose targets mean nothing.

        Raises:
            InputError: a reading that counts is not finite; the stream is what it was before.
            TypeError: inputs or targets are no tensors.
            ValueError: there are other rows than before.
        """
        rows = self._rows(inputs, is_first=is_first, present=present, answered=answered)
        is_first, present, answered = (None if each is None else each.clone() for each in (is_first, present, answered))
        inputs = one_step("inputs", inputs, present)
        if targets is None:
            answered, targets = torch.zeros(rows, dtype=torch.bool, device=tensor_of(self.core).device), self._blank
        else:
            answered = present if answered is None else answered if present is None else answered & present
            if (found := count_rows("targets", targets)) != rows:
                raise ValueError(f"targets must have {rows} rows like inputs, got {found}")
            targets = one_step("targets", targets, answered)
            self._blank = map_state(torch.zeros_like, targets)
        is_first = self._beginning(rows, is_first, present)
        self._present = present
        if targets is None:  # there has never been an answer: nothing to learn from
            outputs, self.state = self._run(inputs, is_first)
            return StreamStep(_last(outputs), None, None)
        mask = None if present is None or bool(present.all()) else present[None]
        seen, before, span = None, self.state, Span(inputs, targets, is_first, mask=mask)
        if self.every > 1:
            outputs, after = self._run(inputs, is_first)
            with torch.no_grad():
                seen = outputs, losses_of(self.loss, outputs, targets)
            self.state = after
        self._before = self._before if self._waiting else before
        self._waiting.append(span)
        self._answered.append(answered)
        metrics = self._learn() if len(self._waiting) == self.every else {}
        outputs, losses = seen or self._seen  # an update after every step has seen what it learned from
        return StreamStep.of(_last(outputs), losses[-1], answered, metrics)

    def predict(self, inputs: Steps, *, is_first: Tensor | None = None) -> Any:
        """Return the outputs (rows, ...) for what may be the next step, in evaluation mode; nothing is changed.

        Args:
            inputs, is_first: as in `step`.

        Raises:
            InputError: a reading is not finite.
        """
        rows = self._rows(inputs, is_first=is_first)
        inputs = one_step("inputs", inputs)
        with evaluating(self.core):
            return _last(self._run(inputs, self._beginning(rows, is_first, None))[0])

    def state_dict(self) -> dict[str, Any]:
        """Return all that the stream holds beside core, loss and optimizer, as nests of tensors and numbers."""
        own = self.synthesizer_optimizer
        return {
            "estimator": self.estimator.state_dict(),
            "synthesizer_optimizer": None if own is None else own.state_dict(),
            "state": self.state,
            "before": self._before,
            "waiting": [(span.inputs, span.targets, span.is_first, span.mask) for span in self._waiting],
            "answered": list(self._answered),
            "present": self._present,
            "blank": self._blank,
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave for a stream made alike, whatever device that was on."""
        saved = moved(dict(saved), tensor_of(self.core).device)
        self.estimator.load_state_dict(saved["estimator"])
        if self.synthesizer_optimizer is not None:
            self.synthesizer_optimizer.load_state_dict(saved["synthesizer_optimizer"])
        self.state, self._before, self._present = saved["state"], saved["before"], saved["present"]
        self._waiting = [Span(inputs, targets, first, mask=mask) for inputs, targets, first, mask in saved["waiting"]]
        self._answered, self._blank = list(saved["answered"]), saved["blank"]

    def _loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the losses of the steps that are learned from, 0 where there is no answer, and remember them."""
        losses = losses_of(self.loss, outputs, targets)
        self._seen = detach(outputs), losses.detach()
        if all(answered is None for answered in self._answered):
            return losses
        everyone = torch.ones_like(losses[0], dtype=torch.bool)
        return losses.where(torch.stack([everyone if each is None else each for each in self._answered]), 0)

    def _learn(self) -> dict[str, Tensor]:
        """Learn from the steps that wait, and return the estimator's metrics."""
        optimizers = [each for each in (self.optimizer, self.synthesizer_optimizer) if each is not None]
        for optimizer in optimizers:
            optimizer.zero_grad()  # of what somebody else left there
        try:
            step = self.estimator.backward(Span.join(self._waiting), self._before)
        finally:
            self._waiting, self._answered = [], []
        self.state = step.state
        if self.clip is not None:
            learned = [each for group in self.optimizer.param_groups for each in group["params"]]
            nn.utils.clip_grad_norm_(learned, self.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return step.metrics

    def _run(self, inputs: Steps, is_first: Tensor | None) -> tuple[Any, State]:
        """Take a step without learning from it, and return outputs (1, rows, ...) and the state after it."""
        state = first_state(self.core, inputs) if self.state is None else self.state
        with torch.no_grad(), kept_buffers(self.core), forked_random(leaves(inputs)[0].device):
            return run(self.core, inputs, detach(state), is_first)

    def _beginning(self, rows: int, is_first: Tensor | None, present: Tensor | None) -> Tensor | None:
        """Return marks (1, rows) of rows that begin anew: marked, or away until now, or all with the first step."""
        if self.state is None:
            return torch.ones(1, rows, dtype=torch.bool, device=tensor_of(self.core).device)
        away = None if self._present is None else ~self._present
        marks = away if is_first is None else is_first if away is None else is_first | away
        return None if marks is None else marks[None]

    def _rows(self, inputs: Steps, **marks: Tensor | None) -> int:
        """Return the number of rows, after checking that it is that of the steps before and of all marks."""
        rows = count_rows("inputs", inputs)
        if self.state is not None and leaves(self.state) and rows != batch_size(self.state):
            raise ValueError(
                f"inputs must have {batch_size(self.state)} rows like the steps before, got {rows}: present= is for "
                "rows that come and go"
            )
        for name, mark in marks.items():
            require_marks(name, mark, rows)
        return rows


def _last(outputs: Any) -> Any:
    return map_state(lambda each: each[-1], outputs)
