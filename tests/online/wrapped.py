"""A recurrent core inside a model with an output layer, as most models are."""

import torch
from models import SIZE
from torch import Tensor, nn

from sgrnn.cores import initial_state
from sgrnn.state import State


class WithReadout(nn.Module):
    """A core and a linear readout of its outputs and of the input."""

    def __init__(self, core: nn.Module, seed: int = 4) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.core = core
        self.readout = nn.Linear(2 * SIZE, SIZE).double()

    def initial_state(self, batch_size: int) -> State:
        return initial_state(self.core, batch_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        options = {"hx": state} if isinstance(self.core, nn.RNNBase) else {"state": state}
        outputs, state = self.core(inputs, **options)
        return self.readout(torch.cat([outputs, inputs], dim=-1)), state
