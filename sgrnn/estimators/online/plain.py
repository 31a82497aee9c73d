"""torch's recurrent modules by plain operations.

``torch.func`` can transform these for any model; the fused kernels of some modules, precisions and devices it cannot.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrnn.cores import HierarchicalCore
from sgrnn.cores.dropout import Dropout
from sgrnn.cores.stacked import StackedCore
from sgrnn.state import State


@contextmanager
def plain_operations(model: nn.Module) -> Iterator[None]:
    """Inside this context every ``torch.nn.LSTM``, ``GRU``, ``RNN`` and cell of a model computes by plain operations.

    The modules stay where they are with their parameters, so that the model may hold them in any way: between other
    layers, as `sgrnn.cores` holds them, or being one itself. One with a forward of its own keeps it.
    """
    found = [
        module for module in model.modules() if type(module).forward in _FORWARDS and "forward" not in vars(module)
    ]
    for module in found:  # found before the method of its class
        vars(module)["forward"] = partial(_FORWARDS[type(module).forward], module)
    try:
        yield
    finally:
        for module in found:
            del vars(module)["forward"]


def refuse_unfit(model: nn.Module) -> None:
    """Refuse a model that cannot be run step by step, or whose steps run again are not the same.

    Raises:
        ValueError: it drops activations out, or a recurrent module is bidirectional or reads the batch first.
    """
    for name, module in model.named_modules():
        where = name or "the model"
        rate = module.p if isinstance(module, Dropout | nn.modules.dropout._DropoutNd) else 0.0
        if isinstance(module, nn.RNNBase):
            rate = module.dropout if module.num_layers > 1 else 0.0
            for option in ("bidirectional", "batch_first"):
                if getattr(module, option):
                    raise ValueError(f"{option} must be False where a model is run step by step, got True in {where}")
        if module.training and rate > 0:
            raise ValueError(
                f"dropout must be 0 where a model's steps are run again to differentiate them, got {rate} in {where}"
            )


def _layers_forward(module: nn.RNNBase, inputs: Tensor, hx: State | None = None) -> tuple[Tensor, State]:
    """What ``module(inputs, hx)`` computes, layer by layer and step by step; shapes and states are the module's."""
    given = _zeros(module, inputs) if hx is None else hx
    state: tuple[Tensor, ...] = given if isinstance(given, tuple) else (given,)
    outputs = inputs
    layers: list[tuple[Tensor, ...]] = []
    for layer in range(module.num_layers):
        weight = partial(_weight, module, f"_l{layer}")
        current = tuple(tensor[layer] for tensor in state)
        seen: list[Tensor] = []
        for step in outputs.unbind(0):
            current = _STEPS[module.mode](weight, step, *current)
            seen.append(current[0])
        outputs = torch.stack(seen)
        layers.append(current)
    last = tuple(torch.stack(tensors) for tensors in zip(*layers, strict=True))
    return _said(outputs, last[0]), last if module.mode == "LSTM" else last[0]


def _zeros(module: nn.RNNBase, inputs: Tensor) -> State:
    hidden = inputs.new_zeros(module.num_layers, inputs.shape[1], module.proj_size or module.hidden_size)
    if module.mode != "LSTM":
        return hidden
    return hidden, inputs.new_zeros(module.num_layers, inputs.shape[1], module.hidden_size)


def _stacked_forward(core: StackedCore, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """What ``core(inputs, state)`` computes."""
    outputs, after = StackedCore.forward(core, inputs, state)
    hidden = after[0] if isinstance(after, tuple) else after
    assert isinstance(hidden, Tensor)
    return _said(outputs, hidden), after


def _said(outputs: Tensor, hidden: Tensor) -> Tensor:
    """The outputs; those of a single step computed from the state that is returned, so that gradients go there."""
    return hidden[-1:] if outputs.shape[0] == 1 else outputs


def _cell_forward(module: nn.RNNCellBase, inputs: Tensor, hx: State | None = None) -> State:
    """What ``module(inputs, hx)`` computes."""
    mode = "LSTM" if isinstance(module, nn.LSTMCell) else "GRU"
    if isinstance(module, nn.RNNCell):
        mode = f"RNN_{module.nonlinearity.upper()}"
    if hx is None:
        hidden = inputs.new_zeros(*inputs.shape[:-1], module.hidden_size)
        hx = (hidden, hidden) if mode == "LSTM" else hidden
    after = _STEPS[mode](partial(_weight, module, ""), inputs, *(hx if isinstance(hx, tuple) else (hx,)))
    return after if mode == "LSTM" else after[0]


_FORWARDS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys([nn.LSTM.forward, nn.GRU.forward, nn.RNN.forward], _layers_forward),
    StackedCore.forward: _stacked_forward,
    HierarchicalCore.forward: HierarchicalCore.forward_plain,
    **dict.fromkeys([nn.LSTMCell.forward, nn.GRUCell.forward, nn.RNNCell.forward], _cell_forward),
}

_Weight = Callable[[str], Tensor | None]


def _weight(module: nn.Module, suffix: str, name: str) -> Tensor | None:
    return getattr(module, name + suffix, None)


def _linear(weight: _Weight, part: str, values: Tensor) -> Tensor:
    matrix = weight(f"weight_{part}")
    assert matrix is not None
    return F.linear(values, matrix, weight(f"bias_{part}"))


# One layer's step: (weights by name, input (batch, features), tensors of its state) -> tensors of its state, of which
# the first is also its output. The equations are those of sgrnn.cores.


def _lstm(weight: _Weight, step: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    gates = _linear(weight, "ih", step) + _linear(weight, "hh", hidden)
    i, f, g, o = gates.chunk(4, dim=-1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    hidden = o.sigmoid() * cell.tanh()
    projection = weight("weight_hr")
    return hidden if projection is None else F.linear(hidden, projection), cell


def _gru(weight: _Weight, step: Tensor, hidden: Tensor) -> tuple[Tensor]:
    r_x, z_x, n_x = _linear(weight, "ih", step).chunk(3, dim=-1)
    r_h, z_h, n_h = _linear(weight, "hh", hidden).chunk(3, dim=-1)
    z = (z_x + z_h).sigmoid()
    n = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
    return ((1 - z) * n + z * hidden,)


def _rnn(function: Callable[[Tensor], Tensor], weight: _Weight, step: Tensor, hidden: Tensor) -> tuple[Tensor]:
    return (function(_linear(weight, "ih", step) + _linear(weight, "hh", hidden)),)


_STEPS: dict[str, Callable[..., Any]] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN_TANH": partial(_rnn, torch.tanh),
    "RNN_RELU": partial(_rnn, torch.relu),
}
