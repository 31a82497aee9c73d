"""The synthesizer that predicts from the next steps' output gradients alone."""

from typing import final

from torch import Tensor

from sgrnn.state import State
from sgrnn.synthesizers.carried import carried_back
from sgrnn.synthesizers.jacobian import JacobianSynthesizer
from sgrnn.synthesizers.lookahead import Lookahead
from sgrnn.synthesizers.synthesizer import standardized


@final
class ErrorSynthesizer(JacobianSynthesizer):
    """Predict the future's gradient as the output gradients of the next n steps, carried back by learned Jacobians.

        M(s, lookahead) = Σ_j  a_j * d_j  +  W_j (g_j * P_j d_j)

    (`JacobianSynthesizer` has the parts.) An output gradient is what the literature on error back-propagation calls an
    error. M is zero where they are, and zero in the mean wherever the model's own predictive distribution holds; and
    where they do not foretell each other, it is bootstrapped without a loop (docs/algorithm.md).

    Args:
        state_size, output_size, feature_size, aligned_size: as `JacobianSynthesizer`.
        lookahead: n.
        hidden_size: units of the network that computes gains and gates.
        rank: dimensions that output gradients cross units through, at each step.
        projection: features that a step's inputs are reduced to first.
        near: steps whose Jacobians depend on the state and the inputs; those of steps further ahead are constants.
    """

    def __init__(
        self,
        state_size: int,
        output_size: int,
        feature_size: int,
        *,
        lookahead: int = 8,
        hidden_size: int = 32,
        rank: int = 8,
        projection: int = 16,
        near: int = 1,
        aligned_size: int | None = None,
    ) -> None:
        super().__init__(
            state_size, output_size, feature_size, lookahead=lookahead, hidden_size=hidden_size, rank=rank,
            projection=projection, near=near, aligned_size=aligned_size,
        )  # fmt: skip

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        """Predict the gradient at the state for each of R rows, (R, 1, state_size); see `Synthesizer.forward`."""
        assert lookahead is not None, "a synthesizer with a lookahead is called with one"
        assert lookahead.features is not None, "the lookahead has features where the synthesizer reads some"
        ahead = lookahead.valid_gradients(self.output_projection.shape[1])
        data = standardized(state), lookahead.features.to(self.input_projection), ahead
        if any(tensor.requires_grad for tensor in data):
            return self.carry_back(self.read(state, lookahead), lookahead).unsqueeze(1)
        gain = (self.gain, self.gain_bias) if self.repeats else (None, None)
        return carried_back(
            *data, self.state_projection.weight, self.state_projection.bias, self.input_projection, self.input_weight,
            self.gate, self.gate_bias, self.output_projection, self.last.weight, *gain,
        ).unsqueeze(1)  # fmt: skip
