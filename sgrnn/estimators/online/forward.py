"""Base of the estimators that carry the influence of the parameters on the state from step to step.

Let o_t, s_t = model(x_t, s_{t-1}; theta), L_t the loss of o_t, d_t = dL_t/do_t and P_t = ds_t/dtheta the influence of
the parameters, used in all steps up to t, on the state. Then

    dL_t/dtheta = (do_t/dtheta)^T d_t  +  P_{t-1}^T (do_t/ds_{t-1})^T d_t         direct part, carried part
    P_t = J_t P_{t-1} + D_t        J_t = ds_t/ds_{t-1},  D_t = ds_t/dtheta with s_{t-1} held constant

Nothing waits for the steps to come: a span may be one step. Estimators differ in what they keep of P.

Letters in shapes: B rows, N features of a row's state, P numbers in the parameters theta.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from sgrnn.estimators.estimator import Step
from sgrnn.estimators.features import require_size
from sgrnn.estimators.handed_out import HandedOut
from sgrnn.estimators.objective import gradients, norms, objective_of
from sgrnn.estimators.online.carrying import CarryingEstimator
from sgrnn.estimators.online.row_step import RowStep, state_step
from sgrnn.estimators.online.unrolled_steps import UnrolledSteps, unroll_steps
from sgrnn.span import Span
from sgrnn.state import State, floating_leaves, to_matrix


class ForwardEstimator(CarryingEstimator, ABC):
    """Estimator that carries the influence of the parameters on the state forwards, and goes back one step alone.

    theta is what the state depends on (`state_step`): the parameters of an output layer inside the model need
    no influence, and those of one inside the loss are no concern of an estimator.

    The influence goes on from span to span, however the parameters are changed in between, as if they had always been
    what they are: exact while they stay the same. It starts from zero, the first state being a constant, as is that of
    a row which is not the one that was handed out after the span before; where a sequence begins (`Span.is_first`) it
    is that of the initial state, zero unless that is learned; where it ends (`Span.is_last`) it is zero again. What is
    learned of the initial state must be the same for all rows.
    """

    _learned: tuple[str, ...] | None = None  # names of theta's parameters in the span before, as far as they are known

    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span and add to the gradients of the model's parameters; see `GradientEstimator.backward`.

        Raises:
            ValueError: besides, the model drops out, learns what a first state makes of the inputs, cannot be run step
                by step or carries no floating-point state, or the rows or the parameters that learn are not those of
                the span before, whose sequences go on.
        """
        span, state = self.begin(span, state)
        require_size(None, state)
        run = unroll_steps(self.model, span, state)
        step = state_step(self.model, span.inputs[:1], run.initial_states[0])
        features = to_matrix(step.like).shape[1]
        self.fit(self._shapes(span.batch_size, features, step.theta.numel()), step.theta, run.all_begin)
        if (anew := self.handed_out.other_rows(state)) is not None:
            self._begin(anew, None)
        self._require_same_parameters(step, run.all_begin)
        objective = objective_of(self.model, self.loss, run.outputs, span)
        objective.trained.backward()
        run.differentiate()
        with torch.no_grad():
            gradient = self._carried_part(run, step, span)
        # Backwards, from the parameters themselves, so that their hooks see this part as well.
        carried = {self.model.get_parameter(name): part for name, part in step.named(gradient).items()}
        torch.autograd.backward([*carried], [*carried.values()])
        self.handed_out, self._learned = HandedOut.of(run.final_state), tuple(step.shapes)
        return Step(objective.loss, run.final_state, norms(run.final_state))

    def _require_same_parameters(self, step: RowStep, all_begin: bool) -> None:
        """Refuse to take the influence of some parameters for that of others; forget it where it is nothing."""
        if self._learned is None or self._learned == tuple(step.shapes):
            return
        carried = dict(self.named_buffers(recurse=False))
        # Where it is a product, it is nothing where one factor is.
        if not all_begin and all(each.any() for each in carried.values() if each.is_floating_point()):
            changed = ", ".join(sorted({*self._learned} ^ {*step.shapes}))
            raise ValueError(
                "the parameters that learn must be those of the span before unless all rows begin a sequence, for the "
                f"influence of these is what is carried: {changed} changed"
            )
        for name, each in carried.items():
            setattr(self, name, torch.zeros_like(each))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._learned = None  # what is loaded is of those that learned when it was saved

    def _carried_part(self, run: UnrolledSteps, step: RowStep, span: Span) -> Tensor:
        """Return (P,), the sum over steps and rows of P_{t-1}^T (do_t/ds_{t-1})^T d_t."""
        initial = step.initial_jacobian() if run.beginnings else None
        begun = [leaf for state in run.beginnings.values() for leaf in floating_leaves(state)]
        if initial is None and any(leaf.requires_grad for leaf in begun):
            raise ValueError(
                "what first_state makes of the inputs is learned, of which no influence is carried: detach it, or give "
                "the model initial_state(batch_size), the same for all rows"
            )
        gradient = torch.zeros_like(step.theta)
        by_step = zip(*(part.split(1) for part in gradients(run.outputs)), strict=True)
        steps = zip(span.inputs, run.initial_states, run.is_first, run.arrived(), by_step, strict=True)
        for inputs, before, is_first, arrived, output_gradients in steps:
            if is_first is not None:
                self._begin(is_first, initial)
            gradient += self._pull(arrived)
            left_out = self._advance(step, before, inputs, list(output_gradients))
            if left_out is not None:
                gradient -= left_out
        if span.is_last is not None:
            self._begin(span.is_last, None)
        return gradient

    @abstractmethod
    def _shapes(self, rows: int, features: int, parameters: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what is carried, by name."""

    @abstractmethod
    def _begin(self, is_first: Tensor, initial: Tensor | None) -> None:
        """Replace the influence of the rows marked True (B,) by `initial` (N, P), or by zero."""

    @abstractmethod
    def _pull(self, arrived: Tensor) -> Tensor:
        """Carry the gradient at the states (B, N) on to the parameters by the influence: (P,), summed over rows."""

    @abstractmethod
    def _advance(self, step: RowStep, before: State, inputs: Tensor, output_gradients: list[Tensor]) -> Tensor | None:
        """Go from P_{t-1} to P_t, by the step from the state before it.

        Args:
            step: the model's.
            before: the state of all rows.
            inputs: (B, ...) of the step.
            output_gradients: of the step's loss at each tensor of the outputs, (1, B, ...).

        Returns:
            (P,) the share in the gradient of this step's loss of an influence that P_t leaves out; None for nothing.
        """
