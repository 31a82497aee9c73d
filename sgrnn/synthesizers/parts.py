"""What synthesizers are built from."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrnn.state import State, floating_leaves, join


def repeated_product(gains: Tensor, errors: Tensor) -> Tensor:
    """Σ_j a_j * d_j for gains (steps, R or 1, repeats x error_size): (R, repeats, error_size)."""
    return (gains.unflatten(2, (-1, errors.shape[2])) * errors.unsqueeze(2)).sum(dim=0)


def standardized(state: State) -> Tensor:
    """(R, features): every tensor of a state to mean 0 and variance 1 over its features, layer by layer."""
    tensors = [tensor.movedim(-2, 0) for tensor in floating_leaves(state)]
    return join([F.layer_norm(tensor, tensor.shape[-1:]) for tensor in tensors])


def drawn(steps: int, size: int, out_size: int) -> nn.Parameter:
    """(steps, size, out_size) weights, uniform as ``nn.Linear`` draws its own, for each step its own."""
    return nn.Parameter(torch.empty(steps, size, out_size).uniform_(-(size**-0.5), size**-0.5))
