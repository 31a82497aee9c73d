"""The core of long short-term memory."""

import torch
from torch import Tensor, nn

from sgrnn.contract.modules import is_plain
from sgrnn.cores.lstm_products import lstm_by_products
from sgrnn.cores.stacked import PARAMETERS, StackedCore, weights_of
from sgrnn.state import without_autocast

# From so many units on oneDNN's kernel in bfloat16 takes longer than its products (docs/performance.md).
_WIDE = 512


class LSTM(StackedCore):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    For an input x and a state (h, c), per layer:

        i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)        input gate
        f = sigmoid(W_if x + b_if + W_hf h + b_hf)        forget gate
        g = tanh   (W_ig x + b_ig + W_hg h + b_hg)        candidate
        o = sigmoid(W_io x + b_io + W_ho h + b_ho)        output gate
        c' = f c + i g
        h' = o tanh(c')                                   also the output

    The state is (hidden, cell), each (num_layers, batch, hidden_size). ``layers[k].weight_ih_l0`` packs W_ii, W_if,
    W_ig, W_io as rows, (4 hidden_size, input_size); ``weight_hh_l0`` likewise, (4 hidden_size, hidden_size).

    >>> core = LSTM(input_size=3, hidden_size=5, num_layers=2)
    >>> outputs, (hidden, cell) = core(torch.zeros(7, 4, 3), core.initial_state(batch_size=4))
    >>> outputs.shape, cell.shape
    (torch.Size([7, 4, 5]), torch.Size([2, 4, 5]))
    """

    kind = nn.LSTM
    kernel = staticmethod(torch.lstm)
    parts = ("hidden", "cell")

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return the state before the first step: zeros (hidden, cell), each (num_layers, batch, hidden_size)."""
        return self._zeros(batch_size), self._zeros(batch_size)

    def _run_layer(
        self, layer: nn.Module, inputs: Tensor, state: tuple[Tensor, Tensor], recurrent: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if not (inputs.is_cpu and is_plain(layer, nn.LSTM, PARAMETERS)) or layer.batch_first:
            return super()._run_layer(layer, inputs, state, recurrent)
        weights = weights_of(layer, recurrent)
        hidden, cell = (tensor[0] for tensor in state)
        if torch.is_autocast_enabled("cpu"):
            has_kernel = torch.ops.mkldnn._is_mkldnn_bf16_supported()
            if has_kernel and self._by_products(inputs, hidden, cell, *weights):
                with without_autocast(inputs.device):
                    outputs, hidden, cell = lstm_by_products(inputs, hidden, cell, weights, torch.bfloat16)
                return outputs, (hidden.unsqueeze(0), cell.unsqueeze(0))
        else:
            # A single step forwards and backwards: oneDNN's kernel, made for many, takes 1.5 to 1.8 times as long.
            has_kernel = inputs.shape[0] > 1
        if has_kernel:
            return super()._run_layer(layer, inputs, state, recurrent)
        outputs = []
        for step in inputs.unbind(0):
            hidden, cell = torch.lstm_cell(step, [hidden, cell], *weights)
            outputs.append(hidden)
        return torch.stack(outputs), (hidden.unsqueeze(0), cell.unsqueeze(0))

    def _by_products(self, *tensors: Tensor) -> bool:
        """True for wide layers in training in bfloat16, graph or none, so that all windows have the same numbers.

        False where a tensor is no float32, which torch refuses or takes as it is.
        """
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return False
        low = self.training and self.precision == torch.bfloat16 and torch.backends.mkldnn.enabled
        return low and self.hidden_size >= _WIDE and all(tensor.dtype == torch.float32 for tensor in tensors)

    def _of_layer(self, state: tuple[Tensor, Tensor], index: int) -> tuple[Tensor, Tensor]:
        hidden, cell = state
        return hidden[index : index + 1], cell[index : index + 1]

    def _stack(self, states: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        if len(states) == 1:
            return states[0]
        hidden, cell = zip(*states, strict=True)
        return torch.cat(hidden), torch.cat(cell)
