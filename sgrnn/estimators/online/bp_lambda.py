"""BP(lambda): synthetic gradients without a window, by a synthesizer that learns at every step with a trace.

Letters in shapes: S steps, B rows, N features of a row's state, M of its outputs.
"""

import torch
from torch import Tensor, nn

from sgrnn.errors import require_share
from sgrnn.estimators.estimator import Step
from sgrnn.estimators.features import require_size
from sgrnn.estimators.handed_out import HandedOut
from sgrnn.estimators.objective import Loss, norms, objective_of
from sgrnn.estimators.online.carrying import CarryingEstimator
from sgrnn.estimators.online.row_step import RowStep, counters
from sgrnn.estimators.online.unrolled_steps import UnrolledSteps, unroll_steps
from sgrnn.estimators.reach import require_reach
from sgrnn.span import Span
from sgrnn.state import State, to_matrix


class BPLambda(CarryingEstimator):
    """Synthetic gradients without a window, by accumulate BP(lambda) (Pemberton & Costa 2024).

    With h_t the state as one vector, J_t = dh_t/dh_{t-1} and the linear synthesizer g(h) = theta h + b, at every step:

        delta_t = (dL_t/dh_t) J_t + gamma g(h_t) J_t - g(h_{t-1})         TD error; g(h_t) = 0 where a sequence ends
        e_t = gamma lambda J_{t-1} e_{t-1} + dg(h_{t-1})/dtheta           trace; begins with a sequence or a new state
        theta <- theta + alpha delta_t e_t                                mean over rows; likewise b
        the core's gradient is (dL_t/dh_t + w g(h_t)) dh_t/dPsi           Jacobian of one step only

    As in the authors' code the update of theta and that of b are each clipped to norm 1 before alpha, theta is updated
    before the g(h_t) of the last line is computed, and that is 0 too where a sequence ends. Unlike there, g is trained
    at the state in which a sequence begins as well, and no optimizer stands between delta_t e_t and theta.

    **dL_t/dh_t** is never formed: both its products are those of the outputs o_t with their gradient d_t = dL_t/do_t,

        (dL_t/dh_t) J_t = (do_t/dh_{t-1})^T d_t        (dL_t/dh_t) dh_t/dPsi = (do_t/dPsi)^T d_t

    which is the same where the outputs are a function of h_t, the hidden state of the last layer for instance, and is
    right as well where they are any other function of h_{t-1} and the input.

    **It steps its own synthesizer**, alone among the estimators: a prediction made in a span must be of the synthesizer
    that learned from the steps before it, those of the same span included, and delta_t e_t is the gradient of no loss
    that an optimizer could be left to minimize. theta and b are buffers, not parameters.

    g predicts the gradient of a row's *summed* loss; the estimator divides by the number of tokens where it injects.

    Metrics: ``td_rms``, the root mean square of delta_t, and ``cell_norm``.

    Memory: a trace of B x N x (N^2 + N) numbers, dim(h) x |theta| per row, and twice as many more while a step is
    taken; besides S x B x N^2 for the Jacobians. For small cores: the trace of an LSTM of 30 units is 0.9 MB per row,
    of 100 units 32 MB.

    Args:
        model, loss: as `GradientEstimator`.
        learning_rate: alpha, of the synthesizer.
        discount: gamma, of the future's gradient.
        trace_decay: lambda; 0 bootstraps from the next step alone, 1 from none but the last.
        injection_scale: w, factor on what is injected.
    """

    weight: Tensor
    bias: Tensor
    trace: Tensor

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        *,
        learning_rate: float,
        discount: float = 1.0,
        trace_decay: float = 1.0,
        injection_scale: float = 1.0,
    ) -> None:
        super().__init__(model, loss)
        if not learning_rate >= 0:  # not a number, too
            raise ValueError(f"learning_rate must be at least 0, got {learning_rate}")
        require_share("discount", discount)
        require_share("trace_decay", trace_decay)
        if injection_scale < 0:
            raise ValueError(f"injection_scale must be at least 0, got {injection_scale}")
        self.learning_rate = learning_rate
        self.discount, self.trace_decay, self.injection_scale = discount, trace_decay, injection_scale
        for name in ("weight", "bias"):
            self.carry(name)  # theta and b, sized by the first state
        self.carry("trace")  # (B, N, N, N + 1): J_t e_t, of theta's columns and of b behind them

    def predict(self, states: Tensor) -> Tensor:
        """Predict g(h), the gradient of a row's summed loss in the steps to come, for states (..., N)."""
        return states @ self.weight.T + self.bias

    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span, add to the gradients of the model's parameters and update g; see `GradientEstimator.backward`.

        Raises:
            ValueError: besides, the model drops out or cannot be run step by step, its state holds no floating-point
                tensor or has changed its size, or the rows are not those of the span before, whose sequences have not
                ended.
        """
        span, state = self.begin(span, state)
        require_size(None, state)
        size = to_matrix(state).shape[1]
        if not self.bias.numel():
            like = to_matrix(state)
            self.weight, self.bias = like.new_zeros(size, size), like.new_zeros(size)
        if len(self.bias) != size:
            raise ValueError(f"state must have {len(self.bias)} features a row as in the spans before, got {size}")
        run = unroll_steps(self.model, span, state)
        require_reach(self.model, run.initial_states, run.final_states)
        self.fit({"trace": (span.batch_size, size, size, size + 1)}, self.weight, run.all_begin)
        if (anew := self.handed_out.other_rows(state)) is not None:
            self.trace = self.trace * ~anew[:, None, None, None]
        objective = objective_of(self.model, self.loss, run.outputs, span)
        objective.trained.backward()
        tokens = span.size
        with torch.no_grad():
            step = RowStep(self.model, run.final_state, {})
            injected, differences = self._learn(step, run, span, run.output_gradients() * tokens)
        run.differentiate([gradient / tokens for gradient in injected])
        _differentiate_beginning(run)
        self.handed_out = HandedOut.of(run.final_state)
        metrics = {"td_rms": differences.square().mean().sqrt()}
        return Step(objective.loss, run.final_state, {**metrics, **norms(run.final_state)})

    def _learn(
        self, step: RowStep, run: UnrolledSteps, span: Span, output_gradients: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Go through the steps in order, updating theta and b.

        Args:
            step, run, span: of the model.
            output_gradients: (S, B, M) of each step's loss.

        Returns:
            for every step w g(h_t), (B, N), and delta_t, (S, B, N), or (n, N) of the n steps that are no padding.
        """
        rows = span.batch_size
        befores = [to_matrix(before) for before in run.initial_states]
        afters = [to_matrix(after) for after in run.final_states]
        counted = tuple(map(torch.cat, zip(*map(counters, run.initial_states), strict=True)))
        inputs, gradients = span.inputs.flatten(0, 1), output_gradients.flatten(0, 1)
        jacobians, arrived = step.jacobian_and_gradient(torch.cat(befores), counted, inputs, gradients)
        steps = zip(
            befores, afters, jacobians.split(rows), arrived.split(rows), run.is_first, _continuing(span), strict=True
        )
        injected: list[Tensor] = []
        differences: list[Tensor] = []
        masks = [None] * span.steps if span.mask is None else list(span.mask)
        for (before, after, J_BNN, arrived_BN, is_first, continuing), real in zip(steps, masks, strict=True):
            if is_first is not None:
                self.trace = self.trace * ~is_first[:, None, None, None]
            ahead_BN = self.discount * self.predict(after) * continuing
            delta_BN = arrived_BN + torch.einsum("bi,bij->bj", ahead_BN, J_BNN) - self.predict(before)
            self._update(delta_BN, before, real)
            self.trace = torch.bmm(J_BNN, self.trace.flatten(2)).view_as(self.trace) * continuing[:, :, None, None]
            injected.append(self.injection_scale * self.predict(after) * continuing)
            differences.append(delta_BN)
        delta_SBN = torch.stack(differences)
        return injected, delta_SBN if span.mask is None else delta_SBN[span.mask]

    def _update(self, delta_BN: Tensor, before: Tensor, real: Tensor | None) -> None:
        """Go from the trace so far, J_{t-1} e_{t-1}, to e_t; then update theta and b, by rows marked True or by all."""
        self.trace = self.discount * self.trace_decay * self.trace
        read = torch.cat([before, torch.ones_like(before[:, :1])], dim=1)  # dg_i/dtheta_ij = h_j, dg_i/db_i = 1
        self.trace.diagonal(dim1=1, dim2=2).add_(read.unsqueeze(2))
        finite = delta_BN.isfinite().all(dim=1) & self.trace.flatten(1).isfinite().all(dim=1)
        count = len(delta_BN)
        if real is not None:
            finite, count = finite & real, real.sum().clamp(min=1)
        if not bool(finite.all()):  # nothing is learned of such a row, and its trace begins anew
            delta_BN = delta_BN.where(finite[:, None], 0)
            self.trace = self.trace.where(finite[:, None, None, None], 0)
        update = (delta_BN.flatten() @ self.trace.flatten(0, 1).flatten(1)) / count
        update = update.view(len(self.bias), -1)
        for parameter, part in ((self.weight, update[:, :-1]), (self.bias, update[:, -1])):
            parameter += self.learning_rate * part / part.norm().clamp(min=1)

    def extra_repr(self) -> str:
        return (
            f"learning_rate={self.learning_rate}, discount={self.discount}, trace_decay={self.trace_decay}, "
            f"injection_scale={self.injection_scale}"
        )


def _continuing(span: Span) -> Tensor:
    """True (S, B, 1) where the row's sequence goes on after the step, False where it ends with it."""
    continuing = span.continuing(range(span.steps + 1))
    if continuing is None:
        return torch.ones(span.steps, span.batch_size, 1, dtype=torch.bool, device=span.device)
    return continuing.view(-1, span.batch_size, 1)[1:]


def _differentiate_beginning(run: UnrolledSteps) -> None:
    """Carry the gradients at the first states of sequences on to the parameters of what these begin in."""
    begun, gradients = [], []
    for place, (is_first, arrived) in enumerate(zip(run.is_first, run.arrived(), strict=True)):
        if is_first is not None and (initial := to_matrix(run.beginnings[place])).requires_grad:
            begun.append(initial)
            gradients.append(arrived * is_first[:, None])
    if begun:
        torch.autograd.backward(begun, gradients)
