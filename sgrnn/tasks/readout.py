"""A core with a linear layer on top: the model for a task."""

from typing import final

from torch import Tensor, nn

from sgrnn.cores import initial_state
from sgrnn.state import State


@final
class Readout(nn.Module):
    """A model for a gradient policy: ``model(inputs, state) -> (outputs, state)``, the outputs linear in the core's.

    A synthesizer sees errors at the outputs. `ErrorSynthesizer` carries them from unit to unit only where they are as
    wide as the state's vectors; for that, train the core as the model and let the loss hold the linear layer, as
    `LanguageModel` does: ``lambda outputs, targets: task.loss(linear(outputs), targets)``.

    >>> import torch
    >>> from sgrnn.cores import LSTM
    >>> model = Readout(LSTM(3, 16), 16, output_size=2)
    >>> outputs, state = model(torch.zeros(7, 4, 3), model.initial_state(batch_size=4))
    >>> outputs.shape
    torch.Size([7, 4, 2])

    Args:
        core: recurrent core; a ``torch.nn.LSTM``, ``GRU`` or ``RNN`` too.
        core_size: features of the core's outputs.
        output_size: features of the model's outputs.
    """

    def __init__(self, core: nn.Module, core_size: int, output_size: int) -> None:
        super().__init__()
        self.core = core
        self.output = nn.Linear(core_size, output_size)

    def initial_state(self, batch_size: int) -> State:
        """The core's."""
        return initial_state(self.core, batch_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read (time, batch, input_size); returns outputs (time, batch, output_size) and the state after them."""
        outputs, state = self.core(inputs, state)
        return self.output(outputs), state
