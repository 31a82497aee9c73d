"""Layers of torch's fused kernels with dropout between them: the base of LSTM, GRU and RNN."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from sgrnn.contract.modules import tensor_of
from sgrnn.cores.dropout import Dropout
from sgrnn.errors import at_least
from sgrnn.state import State, leaves, map_state


class StackedCore(nn.Module, ABC):
    """Recurrent layers, each reading the outputs of the one below over the whole window.

    Args:
        input_size: features of an input step.
        hidden_size: features of an output step and of each layer's state.
        num_layers: how many layers.
        dropout: probability of zeroing an element between two layers (not before the first or after the last).
        precision: of the matrix products in training; None for that of the parameters, in evaluation always. With
            ``torch.bfloat16`` parameters, inputs and states keep their precision and are rounded on the way in.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        *,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("input_size", input_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
        ):
            at_least(name, value, 1)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.layers = nn.ModuleList(self._layer(size, hidden_size) for size in sizes)
        self.dropout = Dropout(dropout)
        self.precision = precision

    @staticmethod
    @abstractmethod
    def _layer(input_size: int, hidden_size: int) -> nn.RNNBase:
        """Make one layer of the kind, time first."""

    def initial_state(self, batch_size: int) -> State:
        """Return the state before the first step: zeros (num_layers, batch, hidden_size)."""
        return self._zeros(batch_size)

    def _zeros(self, batch_size: int) -> Tensor:
        return tensor_of(self).new_zeros(self.num_layers, batch_size, self.hidden_size)

    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Run the core over a window, and return its outputs and the state after it.

        Args:
            inputs: (time, batch, input_size).
            state: as `initial_state` gives, which stands for None: tensors (num_layers, batch, hidden_size).

        Returns:
            outputs (time, batch, hidden_size) of the last layer, and the state after the last step.

        Raises:
            ValueError: inputs or state are of other sizes.
        """
        if state is None and inputs.dim() == 3:
            state = self.initial_state(inputs.shape[1])
        self._require_sizes(inputs, state)
        own = inputs.dtype
        if not self.training or self.precision in (None, own):
            return self._run(inputs, state)
        with torch.autocast(inputs.device.type, self.precision):
            outputs, after = self._run(inputs, state)
        return outputs.to(own), map_state(lambda tensor: tensor.to(own), after)

    def _require_sizes(self, inputs: Tensor, state: State) -> None:
        if inputs.dim() != 3 or inputs.shape[2] != self.input_size:
            raise ValueError(f"inputs must be (time, batch, {self.input_size}), got {tuple(inputs.shape)}")
        expected = (self.num_layers, inputs.shape[1], self.hidden_size)
        for tensor in leaves(state):
            if tensor.shape != expected:
                raise ValueError(f"state must be {expected}, (layers, batch, hidden), got {tuple(tensor.shape)}")

    def _run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        outputs = inputs
        after: list[State] = []
        for index, layer in enumerate(self.layers):
            if index:
                outputs = self.dropout(outputs)
            outputs, last = self._run_layer(
                layer, outputs, state if self.num_layers == 1 else self._of_layer(state, index)
            )
            after.append(last)
        return outputs, self._stack(after)

    def _run_layer(self, layer: nn.Module, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return layer(inputs, state)

    def _of_layer(self, state: State, index: int) -> State:
        return state[index : index + 1]

    def _stack(self, states: list[State]) -> State:
        return states[0] if len(states) == 1 else torch.cat(states)
