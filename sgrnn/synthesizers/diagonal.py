"""The synthesizer of constants: gains from unit to unit, and few dimensions across units, without a network."""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrnn.errors import at_least
from sgrnn.state import State
from sgrnn.synthesizers.lookahead import Lookahead
from sgrnn.synthesizers.synthesizer import Synthesizer, aligned_features, drawn


@final
class DiagonalSynthesizer(Synthesizer):
    """Predict the future's gradient as the output gradients of the next n steps, times constant gains.

        M(lookahead) = Σ_j  a_j * d_j  (+  W_j P_j d_j)

    The mean of the Jacobians that `ErrorSynthesizer` reads off state and inputs, and what that one has for the steps
    beyond its `near`: without a network, it costs a few operations whatever the model. The gains begin at zero. With a
    gain that is a power, a_j = λ^j, and a window of one step it is the stationary diagonal feedback of Caillon et al.
    (2025), who draw λ and leave it; here gains are learned, and each step ahead has its own.

    Args:
        state_size: features of a row of the state, as `sgrnn.state.state_size` counts them.
        output_size: features of the model's outputs at a step.
        lookahead: n.
        rank: dimensions that output gradients cross units through, at each step; 0 for none.
        aligned_size: number of features, the last of a row of the state, that are vectors in the units of the outputs
            and have gains. None for all of the state if it divides into such vectors, else none of it.

    Raises:
        ValueError: a number is out of range, or there would be neither gains nor a rank.
    """

    sees_output_gradients = True

    def __init__(
        self,
        state_size: int,
        output_size: int,
        *,
        lookahead: int = 8,
        rank: int = 0,
        aligned_size: int | None = None,
    ) -> None:
        super().__init__()
        self.state_size, self.output_size = state_size, output_size
        self.lookahead = at_least("lookahead", lookahead, 1, "step")
        self.rank = at_least("rank", rank, 0)
        aligned_size = aligned_features(state_size, output_size, aligned_size)
        self.others = state_size - aligned_size
        self.repeats = aligned_size // output_size
        if not self.repeats and not rank:
            raise ValueError(
                f"rank must be at least 1 where no vector of the state is in the units of the outputs, {output_size}, "
                "got 0"
            )
        if self.repeats:
            self.gain = nn.Parameter(torch.zeros(lookahead, 1, self.repeats, output_size))
        if rank:
            self.output_projection = drawn(lookahead, output_size, rank)
            self.last = nn.Linear(lookahead * rank, state_size, bias=False)
            nn.init.zeros_(self.last.weight)

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        """Predict the gradient at the state for each of R rows, (R, 1, state_size); see `Synthesizer.forward`."""
        assert lookahead is not None, "a synthesizer with a lookahead is called with one"
        gradients = lookahead.valid_gradients(self.output_size)
        across = None
        if self.rank:
            across = self.last(torch.bmm(gradients, self.output_projection).transpose(0, 1).flatten(1))
            if not self.repeats:
                return across.unsqueeze(1)
        along = (self.gain * gradients.unsqueeze(2)).sum(dim=0).flatten(1)
        if self.others:
            along = F.pad(along, (self.others, 0))
        return (along if across is None else along + across).unsqueeze(1)
