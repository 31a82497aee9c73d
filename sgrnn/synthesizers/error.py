"""The errors that the model makes in the next steps, carried back by learned Jacobians."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrnn.state import State
from sgrnn.synthesizers.features import borrowed, require_feature_size
from sgrnn.synthesizers.lookahead import Lookahead
from sgrnn.synthesizers.parts import drawn, repeated_product, standardized


class ErrorSynthesizer(nn.Module):
    """Carries the errors that the model will make in the next n steps back to the state, by learned Jacobians.

    With d_j the gradient of the loss j steps ahead with respect to the model's outputs there, the future's gradient
    is a sum of J_jᵀ d_j, and the Jacobian J_j depends on the state and on the inputs up to step j alone. The
    prediction has the same form:

        M(s, lookahead) = Σ_j  a_j * d_j  +  W_j (g_j * P_j d_j)

    linear in the errors: a part from unit to unit, where the state's vectors are in the outputs' units, and one
    across units through few dimensions. For the nearest steps the gains a_j and gates g_j are read off a small network
    of s, x_1, ..., x_j, and see no input later than the error's; for steps further ahead they are constants. So M is
    zero where no errors are made, and zero in the mean wherever the model's own predictive distribution holds; and
    where errors do not foretell each other, it is bootstrapped without a loop (docs/algorithm.md).

    Args:
        state_size: features of a row of the state, as `sgrnn.state.state_size` counts them.
        error_size: features of the model's outputs at a step.
        features: from inputs (n, R, ...) to features (n, R, feature_size); ``LanguageModel.input_features`` sees
            tokens through the model's own embedding.
        feature_size: as `features` gives.
        steps: n.
        hidden_size: units of the network that computes the gates.
        rank: dimensions that errors cross units through, at each step.
        near: steps whose Jacobians depend on the state and the inputs; those of steps further ahead are constants.
        projection: features that a step's inputs are reduced to first.
        aligned_size: so many features, the last of a row of the state, are vectors in the units of the outputs, to
            which errors are also carried unit by unit; None for all of the state if it divides into such vectors, else
            none of it.
    """

    sees_errors = True

    def __init__(
        self,
        state_size: int,
        error_size: int,
        features: Callable[[Tensor], Tensor],
        feature_size: int,
        *,
        steps: int = 8,
        hidden_size: int = 128,
        rank: int = 32,
        projection: int = 32,
        near: int = 2,
        aligned_size: int | None = None,
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}: it sees nothing but the errors ahead")
        if near < 1:
            raise ValueError(f"near must be at least 1 step, got {near}")
        self.state_size, self.lookahead, self.features = state_size, steps, borrowed(features)
        self.state_projection = nn.Linear(state_size, hidden_size)
        self.near = near = min(near, steps)
        self.input_projection = drawn(near, feature_size, projection)
        self.input_weight = drawn(near, projection, hidden_size)
        if aligned_size is None:
            aligned_size = 0 if state_size % error_size else state_size
        elif aligned_size > state_size or aligned_size % error_size:
            raise ValueError(
                f"aligned_size must be a multiple of error_size, {error_size}, up to state_size, {state_size}, got "
                f"{aligned_size}"
            )
        self.others = state_size - aligned_size
        self.repeats = aligned_size // error_size
        if self.repeats:
            self.gain = nn.Parameter(torch.zeros(near, hidden_size, aligned_size))
            self.gain_bias = nn.Parameter(torch.zeros(steps, 1, aligned_size))
        self.gate = drawn(near, hidden_size, rank)
        self.gate_bias = nn.Parameter(torch.ones(near, 1, rank))
        self.error_projection = drawn(steps, error_size, rank)
        self.last = nn.Linear(steps * rank, state_size, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, state: State, lookahead: Lookahead) -> Tensor:
        """Predict from R rows.

        Args:
            state: R rows.
            lookahead: their next steps, with errors.

        Returns:
            (R, 1, state_size), in units of the estimator's target scale.
        """
        return self.carry_errors(self.read(state, lookahead), lookahead).unsqueeze(1)

    def read(self, state: State, lookahead: Lookahead) -> Tensor:
        """What gains and gates are read off, (near, R, hidden_size): at step j of the state and of inputs 1 to j."""
        inputs = self.features(lookahead.inputs[: self.near]).to(self.input_projection)
        require_feature_size(inputs, self.input_projection.shape[1])
        reduced = torch.bmm(inputs, self.input_projection)
        return F.relu(torch.bmm(reduced, self.input_weight).cumsum(dim=0) + self.state_projection(standardized(state)))

    def carry_errors(self, hidden: Tensor, lookahead: Lookahead) -> Tensor:
        """The errors ahead, carried back, (R, state_size), by what `read` gave."""
        errors = lookahead.errors
        assert errors is not None, "the estimator hands over errors where the synthesizer asks for them"
        if errors.shape[2] != self.error_projection.shape[1]:
            raise ValueError(
                f"error_size must be {errors.shape[2]}, the features of the model's outputs at a step, got "
                f"{self.error_projection.shape[1]}"
            )
        if lookahead.valid is not None:
            errors = errors * lookahead.valid.unsqueeze(-1)
        crossing = torch.bmm(errors, self.error_projection)  # (n, R, rank)
        gates = torch.baddbmm(self.gate_bias, hidden, self.gate)
        crossing = torch.cat([gates * crossing[: self.near], crossing[self.near :]])
        carried = self.last(crossing.transpose(0, 1).flatten(1))
        if self.repeats:
            carried = carried + F.pad(self._unit_to_unit(hidden, errors), (self.others, 0))
        return carried

    def _unit_to_unit(self, hidden: Tensor, errors: Tensor) -> Tensor:
        """Σ_j a_j * d_j, (R, aligned_size), the errors repeated for each of the state's vectors in their units."""
        gains = torch.baddbmm(self.gain_bias[: self.near], hidden, self.gain)  # (near, R, aligned_size)
        near = repeated_product(gains, errors[: self.near])
        return (near + repeated_product(self.gain_bias[self.near :], errors[self.near :])).flatten(1)
