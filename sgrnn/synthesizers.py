"""Synthesizers: predictors of the gradient that the future would send to a state.

A synthesizer is any module ``synthesizer(state, lookahead) -> (rows, heads, features)`` that predicts, for every
row of a state, the gradient of the row's summed future loss with respect to all the floating-point tensors of the
state, flattened as by `sgrnn.state.to_matrix` and divided by a scale that the policy keeps. An attribute
``lookahead_steps`` tells how many upcoming steps it wants to see.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrnn.lookahead import Lookahead, LookaheadEncoder, RecurrentLookahead
from sgrnn.state import State, floating_leaves, join


class MLPSynthesizer(nn.Module):
    """A multi-layer perceptron on the standardized state and what an encoder sees of the steps ahead.

    The last layer is zero in weights and biases, so that training begins as plain truncation
    (Jaderberg et al. 2016). Every state tensor is standardized over its features (a layer norm without
    parameters): the hidden and cell vectors of a young LSTM are tiny.

    Args:
        state_size: features of a row of the state, as `sgrnn.state.state_size` counts them; for an LSTM
            2 x num_layers x hidden_size.
        hidden_sizes: units of each hidden layer; none at all makes the synthesizer linear.
        lookahead: encoder of the steps ahead, or None to see the state alone.
        standardize: whether the state tensors are standardized.
        auxiliary: whether a second head predicts the gradient at the *next* boundary too (Jaderberg et al. 2016,
            the auxiliary task), which shares all layers but the last with the first.
    """

    def __init__(
        self,
        state_size: int,
        hidden_sizes: tuple[int, ...] = (256,),
        *,
        lookahead: LookaheadEncoder | RecurrentLookahead | None = None,
        standardize: bool = True,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        self.standardize = standardize
        self.lookahead = lookahead
        self.lookahead_steps = 0 if lookahead is None else lookahead.steps
        self.heads = 2 if auxiliary else 1
        sizes = [state_size + (0 if lookahead is None else lookahead.output_size), *hidden_sizes]
        self.hidden = nn.Sequential()
        for before, after in pairwise(sizes):
            self.hidden.extend([nn.Linear(before, after), nn.ReLU()])
        self.last = nn.Linear(sizes[-1], self.heads * state_size)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        """Predict from R rows.

        Args:
            state: R rows.
            lookahead: their next steps; None if `lookahead_steps` is 0.

        Returns:
            (R, heads, state_size), in units of the policy's target scale.
        """
        tensors = [tensor.movedim(-2, 0) for tensor in floating_leaves(state)]
        if self.standardize:
            tensors = [F.layer_norm(tensor, tensor.shape[-1:]) for tensor in tensors]
        inputs = join(tensors)
        if self.lookahead is not None:
            assert lookahead is not None, "the policy hands over a lookahead where the synthesizer asks for one"
            inputs = torch.cat([inputs, self.lookahead(lookahead)], dim=1)
        return self.last(self.hidden(inputs)).unflatten(1, (self.heads, -1))


class Follower(nn.Module):
    """A copy of a synthesizer that stays behind it, to bootstrap from targets that do not chase themselves.

    Args:
        synthesizer: the one that learns. Its parameters stay its own; this module holds copies as buffers.
        rate: share of the way that the copy goes towards the synthesizer at each refresh; 1 copies it.
        every: updates between two refreshes; with rate 1 the copy is frozen in between
            (Marschall, Cho & Savin 2020 copy every 5 updates).
    """

    updates: Tensor

    def __init__(self, synthesizer: nn.Module, rate: float, every: int) -> None:
        super().__init__()
        if not 0 < rate <= 1:
            raise ValueError(f"rate must be in (0, 1], got {rate}")
        if every < 1:
            raise ValueError(f"every must be at least 1 update, got {every}")
        self.rate, self.every = rate, every
        self._leader = [synthesizer]  # in a list, so that its parameters are not registered twice
        self._names = [name for name, _ in synthesizer.named_parameters()]
        for index, parameter in enumerate(synthesizer.parameters()):
            self.register_buffer(f"copy_{index}", parameter.detach().clone())
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        """What the copy predicts, as the synthesizer's own forward."""
        copies = dict(zip(self._names, self.copies, strict=True))
        return torch.func.functional_call(self._leader[0], copies, (state, lookahead))

    @property
    def copies(self) -> list[Tensor]:
        """The copied parameters, in the synthesizer's order."""
        return [getattr(self, f"copy_{index}") for index in range(len(self._names))]

    @torch.no_grad()
    def follow(self) -> None:
        """Count an update, and refresh the copy if it is due. Call after the synthesizer has been predicted from."""
        self.updates += 1
        if int(self.updates) % self.every == 0:
            for copy, parameter in zip(self.copies, self._leader[0].parameters(), strict=True):
                copy.lerp_(parameter, self.rate)
