"""A perceptron that predicts the gradient from the state and, if wanted, the steps ahead, as in the literature."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from sgrnn.state import State, to_matrix
from sgrnn.synthesizers.lookahead import Lookahead, LookaheadEncoder, RecurrentLookahead
from sgrnn.synthesizers.parts import standardized


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
        self.state_size = state_size
        self.standardize = standardize
        self.encoder = lookahead
        self.lookahead = 0 if lookahead is None else lookahead.steps
        self.heads = 2 if auxiliary else 1
        sizes = [state_size + (0 if lookahead is None else lookahead.output_size), *hidden_sizes]
        self.input_size = sizes[0]
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
            lookahead: their next steps; None if `lookahead` is 0.

        Returns:
            (R, heads, state_size), in units of the estimator's target scale.
        """
        inputs = standardized(state) if self.standardize else to_matrix(state)
        if self.encoder is not None:
            assert lookahead is not None, "the estimator hands over a lookahead where the synthesizer asks for one"
            inputs = torch.cat([inputs, self.encoder(lookahead)], dim=1)
        if inputs.shape[1] != self.input_size:
            raise ValueError(
                f"state_size must be {inputs.shape[1] - self.input_size + self.state_size}, the features of a row of "
                f"the model's state, got {self.state_size}"
            )
        return self.last(self.hidden(inputs.to(self.last.weight))).unflatten(1, (self.heads, -1))
