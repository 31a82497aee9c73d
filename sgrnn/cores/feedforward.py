"""A feed-forward network in the place of a core: layers that read every step alone, and carry no state."""

from itertools import pairwise
from typing import final

from torch import Tensor, nn

from sgrnn.errors import at_least
from sgrnn.state import State


@final
class FeedForward(nn.Module):
    """Layers of linear, batch norm and ReLU each, for rows that are read in one step (Jaderberg et al. 2016, the FCN).

    A core without a state, for `sgrnn.decoupled`, whose interfaces stand between its layers. Estimators for sequences
    have no use for it: nothing crosses from one step to the next.

    Args:
        input_size: features of an input.
        hidden_size: units of each layer.
        num_layers: number of layers.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        at_least("num_layers", num_layers, 1)
        self.input_size = input_size
        sizes = [input_size, *[hidden_size] * num_layers]
        self.layers = nn.Sequential(
            *(nn.Sequential(nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU())
              for before, after in pairwise(sizes))
        )  # fmt: skip

    def initial_state(self, batch_size: int) -> State:
        """Return an empty state."""
        return ()

    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Read inputs (time, batch, input_size), and return outputs (time, batch, hidden_size) and an empty state."""
        return self.layers(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2]), ()
