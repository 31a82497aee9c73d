"""SnAp-1: real-time recurrent learning with a sparse influence."""

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.caller import arranged_like
from sgrnn.contract.modules import called
from sgrnn.estimators.objective import Loss
from sgrnn.estimators.online.at_state import gradient_at_state, outputs_from_state
from sgrnn.estimators.online.plain_operations import plain_operations
from sgrnn.estimators.online.row_step import RowStep, counters
from sgrnn.estimators.online.rtrl import MatrixEstimator
from sgrnn.state import State, cut, map_state, to_matrix


class SnAp1(MatrixEstimator):
    """Sparse one-step approximation of real-time recurrent learning (Menick et al. 2021).

    The influence is kept within one step's reach only:

        P_t = M * (J_t P_{t-1} + D_t)                           entry by entry
        dL_t/dtheta = P_t^T dL_t/ds_t                           and what an output layer in the model has of its own

    M has a one where a parameter reaches an entry of the state within a single step, that is, where D_t is not
    structurally zero. A unit's own weights keep their influence on that unit, its influence on the others being left
    out, in the step of the loss as in those before it. It is real-time recurrent learning where the units of a core do
    not act on one another and each has one number as its state: a diagonal recurrent matrix in an RNN or a GRU. The
    step is the model's: with several layers, a lower layer's parameters reach the layers above within the same step.

    M is read off the D_t met so far, over all rows: an entry that has been zero in all of them has no influence yet.
    What is learned of the state in which sequences begin reaches that state.

    The loss is one of the outputs. Where these are computed from the state after the step, it is carried back to that
    state first; where they are not, being copies for example, they count as further entries of the state.

    Memory, per row: as `RTRL`, N x P numbers carried and three times as many more while a step is taken, since the
    influence is kept as a dense matrix with zeros in it; besides N x P bits of M, stored as bytes, once for all rows.
    What the paper saves by storing the ones alone is not saved here: it is the same gradient.
    """

    pattern: Tensor
    outputs_pattern: Tensor

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__(model, loss)
        self.carry("pattern", torch.bool)
        self.carry("outputs_pattern", torch.bool)

    def _shapes(self, rows: int, features: int, parameters: int) -> dict[str, tuple[int, ...]]:
        return {**super()._shapes(rows, features, parameters), "pattern": (features, parameters)}

    def _begin(self, is_first: Tensor, initial: Tensor | None) -> None:
        super()._begin(is_first, initial)
        if initial is not None:
            self.pattern = self.pattern | (initial != 0)

    def _advance(self, step: RowStep, before: State, inputs: Tensor, output_gradients: list[Tensor]) -> Tensor:
        leaves = cut(map_state(Tensor.clone, before))  # a model may count in place
        with (
            torch.enable_grad(), kept_buffers(step.model), plain_operations(step.model), outputs_from_state(step.model)
        ):  # fmt: skip
            outputs, after = called(step.model, inputs[None], leaves)
        arrived = gradient_at_state(outputs, arranged_like(after, leaves), leaves, output_gradients)
        states = to_matrix(before)
        through, direct = step.jacobians(states, counters(before), inputs, outputs=arrived is None)
        nonzero = ((direct != 0) & direct.isfinite()).any(dim=0)
        features = states.shape[1]
        self.pattern = self.pattern | nonzero[:features]
        pattern = self.pattern
        if arrived is None:
            of_outputs = nonzero[features:]
            if self.outputs_pattern.shape == of_outputs.shape:
                of_outputs = of_outputs | self.outputs_pattern
            self.outputs_pattern = of_outputs
            pattern = torch.cat([pattern, of_outputs])
            arrived = torch.cat([torch.zeros_like(states), *(part[0].flatten(1) for part in output_gradients)], dim=1)
        carried = torch.bmm(through, self.influence)
        left_out = arrived.flatten() @ carried.masked_fill(pattern, 0).flatten(0, 1)
        self.influence = carried.mul_(pattern)[:, :features].add_(direct[:, :features])
        return left_out
