"""Recurrent layers in the forms that can be exported; torch's own calls fuse all steps, as many as there happen to be.

A layer becomes an operator of ONNX, or a cell of which a scan over the steps takes one after another.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.cores import HierarchicalCore, initial_state
from sgrnn.state import State, leaves, refilled

_GATES = {nn.LSTM: (0, 3, 1, 2), nn.GRU: (1, 0, 2), nn.RNN: (0,)}
"""Places of torch's gates in ONNX's order: input, output, forget, cell; update, reset, hidden."""

_CELLS: dict[type[nn.Module], Callable[..., Any]] = {
    nn.LSTM: torch.lstm_cell,
    nn.GRU: torch.gru_cell,
    nn.RNN: torch.rnn_tanh_cell,
}


class Operator(nn.Module):
    """Layer as one operator of ONNX: LSTM, GRU or RNN. It computes nothing in torch but the sizes of its results."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.kind, self.hidden_size = type(layer), layer.hidden_size
        gates = _GATES[self.kind]

        def ordered(*packed: Tensor) -> nn.Parameter:
            parts = [tensor.detach().chunk(len(gates))[gate] for tensor in packed for gate in gates]
            return nn.Parameter(torch.cat(parts).unsqueeze(0))

        inner, recurrent, *biases = layer.parameters()
        self.weight, self.recurrent_weight, self.bias = ordered(inner), ordered(recurrent), ordered(*biases)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        before, size = leaves(state), (1, inputs.shape[1], self.hidden_size)
        attributes: dict[str, Any] = {"hidden_size": self.hidden_size}
        if self.kind is nn.GRU:
            attributes["linear_before_reset"] = 1
        outputs, *after = torch.onnx.ops.symbolic_multi_out(
            self.kind.__name__,
            (inputs, self.weight, self.recurrent_weight, self.bias, None, *before),
            attributes,
            dtypes=[inputs.dtype] * (1 + len(before)),
            shapes=[(inputs.shape[0], *size)] + [size] * len(before),
        )
        return outputs.squeeze(1), refilled(state, after)


class Cell(nn.Module):
    """Layer that takes a single step, written in operations that torch can look into."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.kind = type(layer)
        self.weights = nn.ParameterList(layer.parameters())

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        before = [tensor[0] for tensor in leaves(state)]
        if self.kind is nn.LSTM:
            after = _CELLS[self.kind](inputs[0], before, *self.weights)
        else:
            after = (_CELLS[self.kind](inputs[0], before[0], *self.weights),)
        return after[0].unsqueeze(0), refilled(state, [tensor.unsqueeze(0) for tensor in after])


class Scan(nn.Module):
    """Core that takes its steps one after another in a loop of the graph, however many they are.

    Args:
        core: of layers that are a `Cell`.
    """

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core, self.like = core, initial_state(core, 1)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        # A prototype of torch's, the one loop that torch.export and its way to ONNX both know: only where it is needed.
        from torch._higher_order_ops.scan import scan

        def step(before: tuple[Tensor, ...], now: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            outputs, after = self.core(now.unsqueeze(0), refilled(self.like, before))
            # Copies: the results of a step may share no memory.
            return tuple(tensor.clone() for tensor in leaves(after)), outputs[0].clone()

        after, outputs = scan(step, tuple(leaves(state)), inputs)
        return outputs, refilled(self.like, after)


def replace_layers(module: nn.Module, form: type[Operator] | type[Cell]) -> None:
    """Put another form in the place of every recurrent layer of torch's; hierarchies take steps one by one."""
    if isinstance(module, HierarchicalCore):
        module.forward = module.forward_plain  # its operations do not depend on the phases
    for name, part in module.named_children():
        if isinstance(part, nn.RNNBase):
            setattr(module, name, form(part))
        else:
            replace_layers(part, form)
