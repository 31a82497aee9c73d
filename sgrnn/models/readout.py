"""The model for a task: a core with a linear output layer."""

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from sgrnn.models.sequence_model import SequenceModel
from sgrnn.state import State


@final
class Readout(SequenceModel):
    """Model that reads vectors and answers by a linear layer on a core's outputs.

    ``model(inputs, state)`` gives the core's outputs, `predict` the answers.

    The linear layer belongs to the loss, so that output gradients are as wide as the vectors of the state, as
    `ErrorSynthesizer` needs them to carry them from unit to unit.

    >>> import torch
    >>> from sgrnn.cores import LSTM
    >>> from sgrnn.tasks import Copy
    >>> task = Copy(batch_size=4, bits=2)
    >>> model = Readout(LSTM(task.input_size, 16), 16, task.output_size, task.loss)
    >>> episode = task.draw()
    >>> outputs, state = model(episode.inputs, model.initial_state(task.batch_size))
    >>> outputs.shape, model.predict(outputs).shape, model.loss(outputs, episode.targets).shape
    (torch.Size([4, 4, 16]), torch.Size([4, 4, 2]), torch.Size([4, 4]))

    Args:
        core: recurrent core; a ``torch.nn.LSTM``, ``GRU`` or ``RNN`` too.
        core_size: features of the core's outputs.
        output_size: features of an answer; targets have one more, as those of a `Task`.
        loss: of the answers, ``loss(answers, targets) -> (time, batch)``, as `Task.loss`.
        input_size: features of an input step; None for the core's attribute of that name.
    """

    def __init__(
        self,
        core: nn.Module,
        core_size: int,
        output_size: int,
        loss: Callable[[Tensor, Tensor], Tensor],
        *,
        input_size: int | None = None,
    ) -> None:
        if input_size is None:
            input_size = getattr(core, "input_size", None)
        if not isinstance(input_size, int):
            raise ValueError(f"input_size must be given for a core without this attribute, got a {type(core).__name__}")
        super().__init__(input_size, input_size + output_size + 1)
        self.core = core
        self.output = nn.Linear(core_size, output_size)
        self.task_loss = loss

    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Read inputs (time, batch, input_size), and return the core's outputs (time, batch, core_size) and state."""
        return self.core(inputs, state)

    def predict(self, outputs: Tensor) -> Tensor:
        """Compute the answers (..., output_size) from the core's outputs (..., core_size)."""
        return self.output(outputs)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the task's loss (time, batch) of the answers."""
        return self.task_loss(self.predict(outputs), targets)

    def input_features(self, inputs: Tensor) -> Tensor:
        """Return the inputs as they are."""
        return inputs

    def step_features(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return inputs and targets side by side, (steps, rows, input_size + output_size + 1)."""
        both = torch.cat([inputs, targets], dim=-1)
        return both if both.is_floating_point() else both.to(torch.get_default_dtype())
