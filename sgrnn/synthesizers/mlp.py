"""The synthesizer of the literature: a perceptron on the state and, with a lookahead, the steps ahead."""

from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from sgrnn.errors import at_least
from sgrnn.state import State, to_matrix
from sgrnn.synthesizers.lookahead import Lookahead
from sgrnn.synthesizers.synthesizer import Synthesizer, drawn, standardized


@final
class MLPSynthesizer(Synthesizer):
    """Predict by a multi-layer perceptron on the standardized state and features of the steps ahead.

    The last layer is zero in weights and biases, so that training begins as plain truncation
    (Jaderberg et al. 2016). Every state tensor is standardized over its features (a layer norm without
    parameters): the hidden and cell vectors of a young LSTM are tiny.

    Args:
        state_size: features of a row of the state, as `sgrnn.state.state_size` counts them; for an LSTM
            2 x num_layers x hidden_size.
        hidden_sizes: units of each hidden layer; none at all makes the synthesizer linear.
        lookahead: steps ahead that it sees; 0 for the state alone.
        feature_size: features of a step ahead, as the model's method ``step_features`` computes them from inputs and
            targets; without that method, the features of both side by side. Of no use without a lookahead.
        projection: features that each step ahead is reduced to by a learned linear map, one for each place; None
            leaves the features as they are.
        standardize: True to standardize the state tensors.
        auxiliary: True for a second head that predicts the gradient at the *next* boundary (Jaderberg et al. 2016, the
            auxiliary task) and shares all layers but the last with the first.

    Raises:
        ValueError: a lookahead that is negative, or without the size of its features.
    """

    sees_targets = True

    def __init__(
        self,
        state_size: int,
        hidden_sizes: tuple[int, ...] = (256,),
        *,
        lookahead: int = 0,
        feature_size: int | None = None,
        projection: int | None = None,
        standardize: bool = True,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        at_least("lookahead", lookahead, 0, "steps")
        if lookahead and feature_size is None:
            raise ValueError(f"feature_size must be given for a lookahead of {lookahead} steps")
        self.state_size, self.feature_size = state_size, feature_size
        self.lookahead = self.reads = lookahead
        self.standardize, self.heads = standardize, 2 if auxiliary else 1
        seen, self.projection = lookahead * (feature_size or 0), None
        if lookahead and projection is not None and feature_size is not None:
            seen, self.projection = lookahead * projection, drawn(lookahead, feature_size, projection)
        sizes = [state_size + seen, *hidden_sizes]
        self.input_size = sizes[0]
        self.hidden = nn.Sequential()
        for before, after in pairwise(sizes):
            self.hidden.extend([nn.Linear(before, after), nn.ReLU()])
        self.last = nn.Linear(sizes[-1], self.heads * state_size)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        """Predict the gradient at the state for each of R rows, (R, heads, state_size); see `Synthesizer.forward`."""
        inputs = standardized(state) if self.standardize else to_matrix(state)
        if self.lookahead:
            assert lookahead is not None, "a synthesizer with a lookahead is called with one"
            inputs = torch.cat([inputs, self.encode(lookahead)], dim=1)
        if inputs.shape[1] != self.input_size:
            own = self.last.out_features // self.heads
            raise ValueError(
                f"state_size must be {inputs.shape[1] - self.input_size + own}, the features of a row of the model's "
                f"state, got {own}"
            )
        return self.last(self.hidden(inputs.to(self.last.weight))).unflatten(1, (self.heads, -1))

    def encode(self, lookahead: Lookahead) -> Tensor:
        """Return the features of the steps ahead, projected where that was asked for, side by side in each row."""
        features = lookahead.features
        assert features is not None, "the lookahead has features where the synthesizer reads some"
        if lookahead.valid is not None:
            features = features * lookahead.valid.unsqueeze(-1)
        if self.projection is not None:
            features = torch.bmm(features.to(self.projection), self.projection)
        return features.transpose(0, 1).flatten(1)
