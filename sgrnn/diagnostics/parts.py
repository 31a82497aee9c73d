"""The parts of a state that figures are given for: hidden and cell, layer by layer."""

from sgrnn.state import State, floating_leaves

WHOLE = "all"


def state_parts(state: State) -> dict[str, slice]:
    """Columns of `sgrnn.state.to_matrix`, by the name of what they hold; first of all the whole.

    Two tensors of one shape are an LSTM's hidden and cell; the tensors of a dict have its keys for names. A tensor of
    three axes has a part for each layer.

    >>> import torch
    >>> state_parts((torch.zeros(2, 4, 5), torch.zeros(2, 4, 5)))["cell 2"]
    slice(15, 20, None)
    """
    tensors = floating_leaves(state)
    if isinstance(state, dict) and len(tensors) == len(state):
        names = [str(key) for key in state]
    elif len(tensors) == 1:
        names = ["hidden"]
    elif isinstance(state, tuple) and len(tensors) == 2 and tensors[0].dim() == tensors[1].dim():
        names = ["hidden", "cell"]
    else:
        names = [f"tensor {number}" for number in range(1, len(tensors) + 1)]
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
