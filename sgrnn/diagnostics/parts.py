"""The parts of a state that metrics are given for: hidden and cell, layer by layer."""

from torch import Tensor

from sgrnn.state import State, floating_leaves

WHOLE = "all"


def state_parts(state: State) -> dict[str, slice]:
    """Return the columns of `sgrnn.state.to_matrix` for each part of a state, by its name; the whole comes first.

    Two tensors of one shape are an LSTM's hidden and cell; what a dict holds has its keys before its name. A tensor of
    three axes has a part for each layer.

    >>> import torch
    >>> state_parts((torch.zeros(2, 4, 5), torch.zeros(2, 4, 5)))["cell 2"]
    slice(15, 20, None)
    """
    tensors = floating_leaves(state)
    names = _names(state)
    parts: dict[str, slice] = {WHOLE: slice(0, 0)}
    start = 0
    for name, tensor in zip(names, tensors, strict=True):
        layers = tensor.shape[0] if tensor.dim() == 3 else 1
        size = tensor.numel() // tensor.shape[-2] // layers
        for layer in range(1, layers + 1):
            parts[name if layers == 1 else f"{name} {layer}"] = slice(start, start + size)
            start += size
    parts[WHOLE] = slice(0, start)
    return parts


def _names(state: State, of: str = "") -> list[str]:
    """A name for each floating-point tensor, in order."""
    if isinstance(state, Tensor):
        return [of or "hidden"] if state.is_floating_point() else []
    if isinstance(state, dict):
        return [name for key, part in state.items() for name in _names(part, f"{of} {key}".strip())]
    shapes = [part.shape if isinstance(part, Tensor) else () for part in state]
    # A pair by itself is an LSTM's or its cell's; among other parts of a state it may be two levels' messages.
    same = len(set(shapes)) == 1 if of else len({len(shape) for shape in shapes}) == 1
    if len(shapes) == 2 and same and len(shapes[0]) >= (3 if of else 1):
        numbers = ["hidden", "cell"]
    elif len(shapes) == 1 and of:
        numbers = [""]
    else:
        numbers = [str(number) for number in range(1, len(shapes) + 1)]
    if not of and numbers[0] == "1":
        of = "tensor"
    parts = zip(state, numbers, strict=True)
    return [name for part, number in parts for name in _names(part, f"{of} {number}".strip())]
