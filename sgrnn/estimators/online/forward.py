"""Forward mode: gradients from the influence that the parameters have had on the state, carried from step to step.

Let o_t, s_t = model(x_t, s_{t-1}; theta), L_t the loss of o_t, d_t = dL_t/do_t and P_t = ds_t/dtheta the influence of
the parameters, used in all steps up to t, on the state. Then

    dL_t/dtheta = (do_t/dtheta)^T d_t  +  P_{t-1}^T (do_t/ds_{t-1})^T d_t         direct part, carried part
    P_t = J_t P_{t-1} + D_t        J_t = ds_t/ds_{t-1},  D_t = ds_t/dtheta with s_{t-1} held constant

Nothing waits for the steps to come: a span may be one step. Estimators differ in what they keep of P.

Letters in shapes: B rows, N features of a row's state, P numbers in the parameters theta.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from sgrnn.estimators.estimator import Step
from sgrnn.estimators.objective import Loss, gradients, mean_loss, norms
from sgrnn.estimators.online.carried import CarryingEstimator
from sgrnn.estimators.online.plain import plain_operations
from sgrnn.estimators.online.step import RowStep
from sgrnn.estimators.online.stepwise import Stepwise, run_steps
from sgrnn.span import Span
from sgrnn.state import State, to_matrix


class ForwardEstimator(CarryingEstimator, ABC):
    """Runs a span forwards, takes the direct part backwards through single steps, and carries the influence along.

    theta is what the state depends on (`Stepwise.row_step`): the parameters of an output layer inside the model need
    no influence, and those of one inside the loss are no concern of an estimator.

    The influence goes on from span to span, however the parameters are changed in between, as if they had always been
    what they are: exact while they stay the same. It starts from zero, the first state being a constant; where a
    sequence begins (`Span.is_first`) it is that of the initial state, zero unless that is learned; where it ends
    (`Span.is_last`) it is zero again. What is learned of the initial state must be the same for all rows.
    """

    def backward(self, model: nn.Module, loss: Loss, span: Span, state: State) -> Step:
        """See `GradientEstimator.backward`.

        Raises:
            ValueError: besides, the model drops out or cannot be run step by step, or the rows are not those of the
                span before, whose sequences have not ended.
        """
        run = run_steps(model, span, state)
        step = run.row_step(model, span)
        features = to_matrix(step.like).shape[1]
        self.fit(self._shapes(span.batch_size, features, step.theta.numel()), step.theta, run.all_begin)
        objective = mean_loss(loss, run.outputs, span)
        objective.backward()
        run.differentiate()
        with torch.no_grad(), plain_operations(model):
            gradient = self._carried_part(run, step, span)
        for name, part in step.named(gradient).items():
            parameter = model.get_parameter(name)
            parameter.grad = part.clone() if parameter.grad is None else parameter.grad + part
        return Step(objective.detach(), run.state, norms(run.state))

    def _carried_part(self, run: Stepwise, step: RowStep, span: Span) -> Tensor:
        """(P,) the sum over steps and rows of P_{t-1}^T (do_t/ds_{t-1})^T d_t."""
        beginning = step.beginning() if run.initial is not None else None
        gradient = torch.zeros_like(step.theta)
        errors = [error.split(1) for error in gradients(run.outputs)]
        steps = zip(span.inputs, run.befores, run.begins, run.arrived(), zip(*errors, strict=True), strict=True)
        for inputs, before, begin, arrived, error in steps:
            if begin is not None:
                self._begin(begin, beginning)
            gradient += self._pulled(arrived)
            left_out = self._advance(step, before, inputs, list(error))
            if left_out is not None:
                gradient -= left_out
        if span.is_last is not None:
            self._begin(span.is_last, None)
        return gradient

    @abstractmethod
    def _shapes(self, rows: int, features: int, parameters: int) -> dict[str, tuple[int, ...]]:
        """Of what is carried, by name."""

    @abstractmethod
    def _begin(self, begin: Tensor, beginning: Tensor | None) -> None:
        """Replace the influence of the rows marked True (B,) by `beginning` (N, P), or by zero."""

    @abstractmethod
    def _pulled(self, arrived: Tensor) -> Tensor:
        """(P,) the gradient at the states (B, N), carried on to the parameters by the influence; summed over rows."""

    @abstractmethod
    def _advance(self, step: RowStep, before: State, inputs: Tensor, errors: list[Tensor]) -> Tensor | None:
        """Go from P_{t-1} to P_t, by the step from the state before it.

        Args:
            step: the model's.
            before: the state of all rows.
            inputs: (B, ...) of the step.
            errors: the gradient at each tensor of the step's outputs, (1, B, ...).

        Returns:
            (P,) what of the gradient of this step's loss came by an influence that P_t leaves out; None for nothing.
        """
