"""A core with a linear layer on top: the model for a task."""

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from sgrnn.models.sequence_model import SequenceModel
from sgrnn.state import State


@final
class Readout(SequenceModel):
    """A model for a gradient estimator that reads vectors: ``model(inputs, state) -> (the core's outputs, state)``.

    The linear layer belongs to the loss, so that output gradients are as wide as the vectors of the state, as
    `ErrorSynthesizer` needs them to carry them from unit to unit. What the model says is `predict(outputs)`.

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
        output_size: features of what the model says; targets have one more, as those of a `Task`.
        loss: of what the model says, ``loss(predictions, targets) -> (time, batch)``, as `Task.loss`.
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
        self._loss = loss

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read (time, batch, input_size); returns outputs (time, batch, core_size) and the state after them."""
        return self.core(inputs, state)

    def predict(self, outputs: Tensor) -> Tensor:
        """Compute the answers (..., output_size) from the core's outputs (..., core_size)."""
        return self.output(outputs)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The task's loss (time, batch) of what the model says."""
        return self._loss(self.predict(outputs), targets)

    def input_features(self, inputs: Tensor) -> Tensor:
        """Return the inputs as they are."""
        return inputs

    def step_features(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return inputs and targets side by side, (steps, rows, input_size + output_size + 1)."""
        both = torch.cat([inputs, targets], dim=-1)
        return both if both.is_floating_point() else both.to(torch.get_default_dtype())
