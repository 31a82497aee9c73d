"""How far the gates and units of a model's recurrent layers are saturated."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GATES = {"LSTM": ("input", "forget", None, "output"), "GRU": ("reset", "update", None)}  # None: a candidate
CLOSED, OPEN = 0.1, 0.9
"""Below the one a gate counts as closed, above the other as open."""


@contextmanager
def gates_read(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Inside this context, what the gates of every torch recurrent layer did, by "layer gate", summed up.

    Yields:
        By name a tensor (4,): values seen, their sum, how many were closed, how many open. A layer without gates has
        "unit" for its outputs' sizes. Filled while the model runs.
    """
    found: dict[str, Tensor] = {}
    layers = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    handles = []
    for number, module in enumerate(layers, start=1):
        handles.append(module.register_forward_hook(_reader(found, number, len(layers))))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _reader(found: dict[str, Tensor], number: int, of: int) -> Any:
    @torch.no_grad()
    def read(module: nn.RNNBase, arguments: tuple[Any, ...], result: tuple[Tensor, Any]) -> None:
        inputs, state = arguments[0], arguments[1] if len(arguments) > 1 else None
        hidden = state[0] if isinstance(state, tuple) else state
        if hidden is None:
            hidden = inputs.new_zeros(module.num_layers, inputs.shape[1], module.proj_size or module.hidden_size)
        cells = state[1] if isinstance(state, tuple) else None
        for layer in range(module.num_layers):
            before = None if cells is None else cells[layer : layer + 1]
            outputs = _outputs(module, layer, inputs, hidden[layer : layer + 1], before)
            earlier = torch.cat([hidden[layer : layer + 1], outputs[:-1]])
            name = "" if of * module.num_layers == 1 else f"{number if of > 1 else layer + 1} "
            for gate, values in _values(module, layer, inputs, earlier, outputs).items():
                seen = torch.stack([
                    values.new_tensor(values.numel()), values.sum(), (values < CLOSED).sum(), (values > OPEN).sum()
                ]).double()  # fmt: skip
                found[name + gate] = found.get(name + gate, torch.zeros_like(seen)) + seen
            inputs = outputs

    return read


def _outputs(module: nn.RNNBase, layer: int, inputs: Tensor, hidden: Tensor, cell: Tensor | None) -> Tensor:
    """What one layer of the module gives, run alone with its weights."""
    sizes = inputs.shape[2], module.hidden_size
    if isinstance(module, nn.LSTM):
        alone = nn.LSTM(*sizes, bias=module.bias, proj_size=module.proj_size)
    elif isinstance(module, nn.GRU):
        alone = nn.GRU(*sizes, bias=module.bias)
    else:
        alone = nn.RNN(*sizes, bias=module.bias, nonlinearity=module.mode.removeprefix("RNN_").lower())
    alone = alone.to(inputs)
    for name, weight in alone.named_parameters():
        weight.copy_(getattr(module, name.replace("_l0", f"_l{layer}")))
    return alone(inputs, hidden.contiguous() if cell is None else (hidden.contiguous(), cell.contiguous()))[0]


def _values(module: nn.RNNBase, layer: int, inputs: Tensor, earlier: Tensor, outputs: Tensor) -> dict[str, Tensor]:
    """The gates' activations by name; of a layer without gates, how large its outputs are."""
    if module.mode not in _GATES:
        return {"unit": outputs.abs()}

    def part(name: str, values: Tensor) -> Tensor:
        weight, bias = getattr(module, f"weight_{name}_l{layer}"), getattr(module, f"bias_{name}_l{layer}", None)
        return F.linear(values, weight, bias)

    gates = _GATES[module.mode]
    activations = (part("ih", inputs) + part("hh", earlier)).chunk(len(gates), dim=-1)
    return {
        gate: values.sigmoid() for gate, values in zip(gates, activations, strict=True) if gate is not None
    }  # fmt: skip
