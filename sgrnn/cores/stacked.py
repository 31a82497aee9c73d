"""Layers of torch's fused kernels with dropout between them: the base of LSTM, GRU and RNN."""

import warnings
from abc import ABC
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sgrnn.contract.modules import is_plain, tensor_of
from sgrnn.cores.dropout import Dropout
from sgrnn.cores.locked import LockedDropout, WeightDropout, dropout_rate
from sgrnn.errors import at_least
from sgrnn.state import State, leaves, map_state

PARAMETERS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


class StackedCore(nn.Module, ABC):
    """Recurrent layers, each reading the outputs of the one below over the whole window.

    Args:
        input_size: features of an input step.
        hidden_size: features of an output step and of each layer's state.
        num_layers: how many layers.
        dropout: probability of zeroing an element between two layers (not before the first or after the last).
        locked_dropout: True for the same mask at all steps of a span (`LockedDropout`) between two layers.
        weight_dropout: probability of zeroing an element of the matrices that the hidden vector is multiplied with, the
            same ones at all steps of a span (Merity et al. 2017).
        precision: of the matrix products in training; None for that of the parameters, in evaluation always. With
            ``torch.bfloat16`` parameters, inputs and states keep their precision and are rounded on the way in.
    """

    kind: ClassVar[type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]]
    """Class of torch's that a layer is of."""
    kernel: ClassVar[Callable[..., Any]]
    """Function of torch's that runs a layer over all steps, given its weights."""
    parts: ClassVar[tuple[str, ...]] = ("hidden",)
    """Tensors that a state consists of."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        *,
        locked_dropout: bool = False,
        weight_dropout: float = 0.0,
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
        self.layers = nn.ModuleList(self.kind(size, hidden_size) for size in sizes)
        self.dropout = LockedDropout(dropout) if locked_dropout else Dropout(dropout)
        self.weight_dropout = WeightDropout(dropout_rate(weight_dropout, "weight_dropout"))
        self.precision = precision

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
        found = leaves(state)
        if len(found) != len(self.parts):
            raise ValueError(f"state must hold {len(self.parts)} tensors, {' and '.join(self.parts)}, got {len(found)}")
        for tensor in found:
            if tensor.shape != expected:
                raise ValueError(f"state must be {expected}, (layers, batch, hidden), got {tuple(tensor.shape)}")

    def _run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        outputs = inputs
        after: list[State] = []
        for index, layer in enumerate(self.layers):
            if index:
                outputs = between_layers(self.dropout, outputs, index)
            of_layer = state if self.num_layers == 1 else self._of_layer(state, index)
            outputs, last = self._run_layer(layer, outputs, of_layer, self._recurrent(layer, index))
            after.append(last)
        return outputs, self._stack(after)

    def _recurrent(self, layer: nn.Module, index: int) -> Tensor | None:
        """Return what is left of a layer's recurrent matrix; None where nothing is dropped.

        Raises:
            ValueError: a call of the layer is something else than its class defines, and would be passed by.
        """
        if not self.weight_dropout.drops:
            return None
        if not is_plain(layer, self.kind, PARAMETERS):
            raise ValueError(
                f"weight_dropout must be 0 for layers with hooks, parametrizations or a forward of their own, got "
                f"{self.weight_dropout.p} with some in layers.{index}"
            )
        return self.weight_dropout(layer.weight_hh_l0, index)

    def _run_layer(
        self, layer: nn.Module, inputs: Tensor, state: State, recurrent: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run a layer, with another recurrent matrix than its own where one is given."""
        if recurrent is None:
            return layer(inputs, state)
        with _not_in_one_piece(inputs):
            outputs, *after = type(self).kernel(
                inputs, state, weights_of(layer, recurrent), True, 1, 0.0, True, False, False
            )  # biases, one layer, no dropout between layers, training, one direction, time first
        return outputs, after[0] if len(after) == 1 else tuple(after)

    def _of_layer(self, state: State, index: int) -> State:
        return state[index : index + 1]

    def _stack(self, states: list[State]) -> State:
        return states[0] if len(states) == 1 else torch.cat(states)


@contextmanager
def _not_in_one_piece(inputs: Tensor) -> Iterator[None]:
    """Keep cuDNN from warning that it copies weights: what is left of a matrix is another one in every span."""
    if not inputs.is_cuda:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        yield


def weights_of(layer: nn.Module, recurrent: Tensor | None) -> list[Tensor]:
    """Return a layer's weights in the order of torch's functions, with another recurrent matrix where one is given."""
    weights = [getattr(layer, name) for name in PARAMETERS]
    if recurrent is not None:
        weights[1] = recurrent
    return weights


def between_layers(dropout: Dropout | LockedDropout, outputs: Tensor, place: int) -> Tensor:
    """Drop out between two layers, with a mask of its own in each place."""
    return dropout(outputs, place) if isinstance(dropout, LockedDropout) else dropout(outputs)
