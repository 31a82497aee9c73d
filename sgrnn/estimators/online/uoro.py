"""UORO: real-time recurrent learning with the influence as a random outer product."""

import torch
from torch import Tensor, nn

from sgrnn.estimators.objective import Loss
from sgrnn.estimators.online.forward import ForwardEstimator
from sgrnn.estimators.online.row_step import RowStep, counters
from sgrnn.state import State, to_matrix

_TINY = 1e-7  # the paper's epsilon, which keeps the norms from dividing by zero


class UORO(ForwardEstimator):
    """Unbiased online recurrent optimization (Tallec & Ollivier 2018): the influence as one outer product per row.

    In the place of P_t stands s_t theta_t^T, whose expectation it is (algorithm 1). With v of independent random signs,

        s_t = rho_0 J_t s_{t-1} + rho_1 v             rho_0 = sqrt(|theta_{t-1}| / |J_t s_{t-1}|)
        theta_t = theta_{t-1} / rho_0 + D_t^T v / rho_1     rho_1 = sqrt(|D_t^T v| / |v|)

    The cross terms of the product have mean zero and v v^T the identity, whatever the two factors are, so that the
    gradient is right in the mean; they make both vectors as long as each other, for which the variance is least.

    Memory, per row: N + P numbers carried, N the features of the state and P the parameters that it depends on, and
    a few times as many while a step is taken. Time, per row and step: a few times that of the step, whatever N.

    Args:
        seed: of the random signs. They come from a generator of this estimator's own, saved with its state.
    """

    state_vector: Tensor
    parameter_vector: Tensor

    def __init__(self, model: nn.Module, loss: Loss, *, seed: int = 0) -> None:
        super().__init__(model, loss)
        self.carry("state_vector")
        self.carry("parameter_vector")
        self.generator = torch.Generator().manual_seed(seed)

    def _shapes(self, rows: int, features: int, parameters: int) -> dict[str, tuple[int, ...]]:
        return {"state_vector": (rows, features), "parameter_vector": (rows, parameters)}

    def _begin(self, is_first: Tensor, initial: Tensor | None) -> None:
        state, parameter = self.state_vector.new_zeros(()), self.parameter_vector.new_zeros(())
        if initial is not None:
            signs = self._signs()
            parameter = signs @ initial
            scale = _balance(parameter, signs)
            state, parameter = scale * signs, parameter / scale
        self.state_vector = torch.where(is_first[:, None], state, self.state_vector)
        self.parameter_vector = torch.where(is_first[:, None], parameter, self.parameter_vector)

    def _pull(self, arrived: Tensor) -> Tensor:
        return (arrived * self.state_vector).sum(dim=1) @ self.parameter_vector

    def _advance(self, step: RowStep, before: State, inputs: Tensor, output_gradients: list[Tensor]) -> None:
        signs = self._signs()
        pushed, pulled = step.products(to_matrix(before), counters(before), inputs, self.state_vector, signs)
        rho_0, rho_1 = _balance(self.parameter_vector, pushed), _balance(pulled, signs)
        self.state_vector = rho_0 * pushed + rho_1 * signs
        self.parameter_vector = self.parameter_vector / rho_0 + pulled / rho_1

    def _signs(self) -> Tensor:
        """Draw (B, N) of -1 and 1."""
        drawn = torch.randint(0, 2, self.state_vector.shape, generator=self.generator)
        return (2 * drawn - 1).to(self.state_vector)

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return the state of the generator of the random signs, which is saved besides buffers."""
        return {"generator": self.generator.get_state()}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Put the generator of the random signs back to a saved state."""
        self.generator.set_state(state["generator"].cpu())


def _balance(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return (B, 1), the factor on the denominator's rows and under the numerator's that makes both equally long."""
    ratio = numerator.norm(dim=1, keepdim=True) / (denominator.norm(dim=1, keepdim=True) + _TINY)
    return ratio.sqrt() + _TINY
