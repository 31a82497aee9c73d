"""Real-time recurrent learning: the influence of the parameters on the state, in full."""

from abc import ABC

import torch
from torch import Tensor, nn

from sgrnn.estimators.objective import Loss
from sgrnn.estimators.online.forward import ForwardEstimator
from sgrnn.estimators.online.row_step import RowStep, counters
from sgrnn.state import State, to_matrix


class MatrixEstimator(ForwardEstimator, ABC):
    """Forward-mode estimator that carries the influence of each row as a matrix."""

    influence: Tensor

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__(model, loss)
        self.carry("influence")

    def _shapes(self, rows: int, features: int, parameters: int) -> dict[str, tuple[int, ...]]:
        return {"influence": (rows, features, parameters)}

    def _begin(self, is_first: Tensor, initial: Tensor | None) -> None:
        initial = self.influence.new_zeros(()) if initial is None else initial
        self.influence = torch.where(is_first[:, None, None], initial, self.influence)

    def _pull(self, arrived: Tensor) -> Tensor:
        return arrived.flatten() @ self.influence.flatten(0, 1)


class RTRL(MatrixEstimator):
    """Real-time recurrent learning (Williams & Zipser 1989): exact gradients, forwards.

        P_t = J_t P_{t-1} + D_t                 their p^k_ij, the sensitivity of unit k to weight ij

    With constant parameters the gradients of the spans of a sequence add up to those of `BPTT` on the sequence as one
    span, wherever it is divided: none of it is truncated.

    Memory, per row: N x P numbers carried and twice as many more while a step is taken, N the features of the state and
    P the parameters that it depends on: for an LSTM of H units with as many inputs about 16 H^3. Time, per row and
    step: N^2 P. For small cores.

    >>> from sgrnn import LSTM, Span
    >>> estimator = RTRL(LSTM(2, 3), lambda outputs, targets: (outputs - targets).square().sum(dim=2))
    >>> span = Span(torch.randn(4, 5, 2), torch.randn(4, 5, 3))
    >>> step = estimator.backward(span)
    >>> estimator.influence.shape
    torch.Size([5, 6, 84])
    """

    def _advance(self, step: RowStep, before: State, inputs: Tensor, output_gradients: list[Tensor]) -> None:
        through, direct = step.jacobians(to_matrix(before), counters(before), inputs)
        self.influence = torch.bmm(through, self.influence).add_(direct)
