"""A learned backward pass: from each boundary to the one before it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sgrnn.state import State
from sgrnn.synthesizers.error import ErrorSynthesizer
from sgrnn.synthesizers.lookahead import Lookahead


@dataclass(frozen=True)
class Reading:
    """What `AdjointSynthesizer` makes of R rows before it knows what arrives at the ends of their windows.

    Args:
        own: (R, state_size) the errors of the window, carried back.
        gains: (R, vectors, vectors, state_size / vectors) of the Jacobian's part from unit to unit.
        gates: (R, rank) of its part across units.
    """

    own: Tensor
    gains: Tensor
    gates: Tensor

    def rows(self, start: int, stop: int | None) -> "Reading":
        """Some of the rows, counted as Python slices count."""
        chosen = slice(start, stop)
        return Reading(self.own[chosen], self.gains[chosen], self.gates[chosen])


class AdjointSynthesizer(ErrorSynthesizer):
    """Carries back the errors of the next window, and what arrives at the window's end, by learned Jacobians.

    As `ErrorSynthesizer` with n = T, the window, and one term more: with i the gradient that is injected at the next
    boundary,

        M(s, lookahead, i) = Σ_j  a_j * d_j  +  W_j (g_j * P_j d_j)  +  C * i  +  V (q * U i)

    so that it learns the transposed Jacobian of a window, and its predictions, made from the last boundary of a span to
    the first, are the adjoint recursion of back-propagation with learned Jacobians in the place of the core's. Errors
    reach back through any number of windows of the span. C has a gain for every unit and every pair of the state's
    vectors (an LSTM's cell passes its gradient on to itself and takes in that of the hidden state); gains and gates are
    read off the state and the inputs of the window.

    The target of a prediction is what the core's own Jacobian makes of the same i: M is never trained on what it said
    itself, and there is no bootstrap to diverge. Linear in the errors it stays (docs/algorithm.md).

    Args:
        state_size, error_size, features, feature_size: as `ErrorSynthesizer`.
        window: T, that of the estimator.
        hidden_size: units of the network that computes gains and gates.
        rank: dimensions that gradients cross units through.
        projection: features that a step's inputs are reduced to first.
        near: steps of the window whose inputs are read, and whose Jacobians depend on them; None for all.
        aligned_size: as `ErrorSynthesizer`; where it is not all of the state, C has a gain for every unit alone.
    """

    def __init__(
        self,
        state_size: int,
        error_size: int,
        features: Callable[[Tensor], Tensor],
        feature_size: int,
        *,
        window: int,
        hidden_size: int = 128,
        rank: int = 32,
        projection: int = 32,
        near: int | None = None,
        aligned_size: int | None = None,
    ) -> None:
        super().__init__(
            state_size, error_size, features, feature_size, aligned_size=aligned_size,
            steps=window, hidden_size=hidden_size, rank=rank, projection=projection, near=near or window,
        )  # fmt: skip
        self.vectors = 1 if self.others else self.repeats
        gains = self.vectors * state_size
        self.next_gain = nn.Parameter(torch.zeros(hidden_size, gains))
        self.next_gain_bias = nn.Parameter(torch.zeros(gains))
        self.next_gate = nn.Linear(hidden_size, rank)
        nn.init.ones_(self.next_gate.bias)
        self.next_projection = nn.Linear(state_size, rank, bias=False)
        self.next_last = nn.Linear(rank, state_size, bias=False)
        nn.init.zeros_(self.next_last.weight)

    def forward(self, state: State, lookahead: Lookahead, following: Tensor | None = None) -> Tensor:
        """Predict from R rows.

        Args:
            state: R rows.
            lookahead: the steps of their windows, with errors.
            following: (R, state_size) what is injected at the windows' ends, in units of the estimator's target scale;
                None for nothing.

        Returns:
            (R, 1, state_size), in the same units.
        """
        reading = self.look(state, lookahead)
        return (reading.own if following is None else self.carry(reading, following)).unsqueeze(1)

    def look(self, state: State, lookahead: Lookahead) -> Reading:
        """All that does not depend on what arrives at the windows' ends."""
        hidden = self.read(state, lookahead)
        last = hidden[-1]  # it has seen the state and the inputs of the whole window
        gains = torch.addmm(self.next_gain_bias, last, self.next_gain)
        gains = gains.unflatten(1, (self.vectors, self.vectors, -1))
        return Reading(self.carry_errors(hidden, lookahead), gains, self.next_gate(last))

    def carry(self, reading: Reading, following: Tensor) -> Tensor:
        """The prediction (R, state_size) from what arrives at the windows' ends, (R, state_size)."""
        arriving = following.unflatten(1, (1, self.vectors, -1))
        unit_to_unit = (reading.gains * arriving).sum(dim=2).flatten(1)
        return reading.own + unit_to_unit + self.next_last(reading.gates * self.next_projection(following))
