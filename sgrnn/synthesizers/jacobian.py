"""Base of the synthesizers that carry the next steps' output gradients back to a state by learned Jacobians."""

from abc import ABC

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrnn.errors import at_least
from sgrnn.state import State
from sgrnn.synthesizers.lookahead import Lookahead
from sgrnn.synthesizers.synthesizer import Synthesizer, aligned_features, drawn, standardized


class JacobianSynthesizer(Synthesizer, ABC):
    """Predict by carrying the output gradients of the next n steps back to the state, by learned Jacobians.

    With d_j the gradient of the loss j steps ahead with respect to the model's outputs there, the future's gradient
    is a sum of J_jᵀ d_j, and the Jacobian J_j depends on the state and on the inputs up to step j alone. The
    prediction has the same form:

        Σ_j  a_j * d_j  +  W_j (g_j * P_j d_j)

    linear in the d_j: a part from unit to unit, where the state's vectors are in the outputs' units, and one across
    units through few dimensions. For the nearest steps the gains a_j and gates g_j are read off a small network of
    s, x_1, ..., x_j, and see no input later than d_j; for steps further ahead they are constants.

    Args:
        state_size: features of a row of the state, as `sgrnn.state.state_size` counts them.
        output_size: features of the model's outputs at a step.
        feature_size: features of the model's inputs at a step, as its method ``input_features`` computes them; without
            that method, the features of the inputs themselves.
        lookahead: n.
        hidden_size: units of the network that computes gains and gates.
        rank: dimensions that output gradients cross units through, at each step.
        projection: features that a step's inputs are reduced to first.
        near: steps whose Jacobians depend on the state and the inputs; those of steps further ahead are constants.
        aligned_size: number of features, the last of a row of the state, that are vectors in the units of the outputs:
            to these, output gradients are also carried unit by unit. None for all of the state if it divides into
            such vectors, else none of it.

    Raises:
        ValueError: a number is out of range.
    """

    sees_output_gradients = True

    def __init__(
        self,
        state_size: int,
        output_size: int,
        feature_size: int,
        *,
        lookahead: int,
        hidden_size: int,
        rank: int,
        projection: int,
        near: int,
        aligned_size: int | None,
    ) -> None:
        super().__init__()
        if lookahead < 1:
            raise ValueError(f"lookahead must be at least 1 step, got {lookahead}: it sees nothing but what is ahead")
        at_least("near", near, 1, "step")
        self.reads = near = min(near, lookahead)
        self.state_size, self.output_size = state_size, output_size
        self.feature_size, self.lookahead = feature_size, lookahead
        self.state_projection = nn.Linear(state_size, hidden_size)
        self.input_projection = drawn(near, feature_size, projection)
        self.input_weight = drawn(near, projection, hidden_size)
        aligned_size = aligned_features(state_size, output_size, aligned_size)
        self.others = state_size - aligned_size
        self.repeats = aligned_size // output_size
        if self.repeats:
            self.gain = nn.Parameter(torch.zeros(near, hidden_size, aligned_size))
            self.gain_bias = nn.Parameter(torch.zeros(lookahead, 1, aligned_size))
        self.gate = drawn(near, hidden_size, rank)
        self.gate_bias = nn.Parameter(torch.ones(near, 1, rank))
        self.output_projection = drawn(lookahead, output_size, rank)
        self.last = nn.Linear(lookahead * rank, state_size, bias=False)
        nn.init.zeros_(self.last.weight)

    def read(self, state: State, lookahead: Lookahead) -> Tensor:
        """Compute hidden units of gains and gates, (near, R, hidden_size): at step j of the state, inputs 1 to j."""
        assert lookahead.features is not None, "the lookahead has features where the synthesizer reads some"
        reduced = torch.bmm(lookahead.features.to(self.input_projection), self.input_projection)
        return F.relu(torch.bmm(reduced, self.input_weight).cumsum(dim=0) + self.state_projection(standardized(state)))

    def carry_back(self, hidden: Tensor, lookahead: Lookahead) -> Tensor:
        """Carry the output gradients ahead back to the state, (R, state_size).

        Args:
            hidden: as `read` gives.
            lookahead: the steps ahead.

        Raises:
            ValueError: the model's outputs have other sizes.
        """
        gradients = lookahead.valid_gradients(self.output_projection.shape[1])
        crossing = torch.bmm(gradients, self.output_projection)  # (n, R, rank)
        gates = torch.baddbmm(self.gate_bias, hidden, self.gate)
        crossing = torch.cat([gates * crossing[: self.reads], crossing[self.reads :]])
        carried = self.last(crossing.transpose(0, 1).flatten(1))
        if self.repeats:
            carried = carried + F.pad(self._unit_to_unit(hidden, gradients), (self.others, 0))
        return carried

    def _unit_to_unit(self, hidden: Tensor, gradients: Tensor) -> Tensor:
        """Return Σ_j a_j * d_j, (R, aligned_size), d_j repeated for each of the state's vectors in their units."""
        gains = torch.baddbmm(self.gain_bias[: self.reads], hidden, self.gain)  # (near, R, aligned_size)
        near = _repeated_product(gains, gradients[: self.reads])
        return (near + _repeated_product(self.gain_bias[self.reads :], gradients[self.reads :])).flatten(1)


def _repeated_product(gains: Tensor, gradients: Tensor) -> Tensor:
    """Return Σ_j a_j * d_j for gains (steps, R or 1, repeats x output_size): (R, repeats, output_size)."""
    return (gains.unflatten(2, (-1, gradients.shape[2])) * gradients.unsqueeze(2)).sum(dim=0)
