"""Drift control: removes components of a prediction that could feed on themselves, before it is injected.

A bootstrapped predictor learns from targets that it takes part in, so that any direction which the core's own
Jacobian hands back unchanged can feed on itself: above all one common to all rows, and the direction of the state
itself, along which the open gates of an LSTM carry a gradient through any number of steps. A predictor free in its
form needs `remove_mean` and `remove_radial` against the two; `ErrorSynthesizer` needs the second alone, and where the
state is what its core outputs, neither (docs/algorithm.md).
"""

import torch
from torch import Tensor

from sgrnn.all_reduce import AllReduce
from sgrnn.state import State, at_least_float32, floating_leaves, from_matrix, join, to_matrix
from sgrnn.synthesizers import DiagonalSynthesizer, ErrorSynthesizer, Synthesizer


def remove_mean(gradient: Tensor, rows: Tensor | None = None, all_reduce: AllReduce | None = None) -> Tensor:
    """Subtract from a gradient (R, features) its mean over the rows, or over those marked True (R,).

    One row alone is left as it is: there is nothing to tell what is common from what is its own. With `all_reduce` the
    rows are those of all processes that share the batch.
    """
    if rows is None and all_reduce is None:
        return gradient if gradient.shape[0] == 1 else gradient - gradient.mean(dim=0)
    weight = gradient.new_ones(len(gradient), 1) if rows is None else rows.unsqueeze(1).to(gradient.dtype)
    sums = torch.cat([(gradient * weight).sum(dim=0), weight.sum(dim=0)])
    if all_reduce is not None:
        sums = all_reduce(sums)
    count = sums[-1]
    return gradient - sums[:-1] / count.clamp(min=1) * (count > 1)


def is_output(state: State, output_size: int) -> bool:
    """True for a state of one tensor as wide as the outputs, as a GRU's or an Elman core's: its core outputs it."""
    held = floating_leaves(state)
    return len(held) == 1 and held[0].shape[-1] == output_size


def removes_radial(asked: bool | None, state: State, synthesizer: Synthesizer) -> bool:
    """Return whether what is injected along a state is to be removed: as asked, or else where it could feed on itself.

    What lies along a state that is output says how sure the model is, which the loss sees and an LSTM's cells do not. A
    synthesizer that is no sum over the output gradients of the steps ahead, free in its form or a recursion, was not
    measured without.

    Args:
        asked: True or False, or None for where it could.
        state: that gradients are injected at.
        synthesizer: that predicts them.
    """
    if asked is not None:
        return asked
    sums = isinstance(synthesizer, ErrorSynthesizer | DiagonalSynthesizer)
    return not (sums and is_output(state, synthesizer.output_size))


def remove_radial(gradient: Tensor, state: State) -> Tensor:
    """Subtract from a gradient its component along each row's state, tensor by tensor and layer by layer.

    What is left turns the state's vectors but neither grows nor shrinks them.

    Args:
        gradient: (R, features), laid out as `sgrnn.state.to_matrix` lays out the state.
        state: R rows.
    """
    sizes = {tensor.shape[-1] for tensor in floating_leaves(state)}
    if len(sizes) == 1:  # all vectors at once
        matrix = at_least_float32(to_matrix(state)).view(len(gradient), -1, *sizes)
        return without_along(gradient.reshape(matrix.shape), matrix).flatten(1)
    parts = zip(from_matrix(gradient, state), map(at_least_float32, floating_leaves(state)), strict=True)
    return join(without_along(part, vectors).movedim(-2, 0) for part, vectors in parts)


def without_along(gradient: Tensor, vectors: Tensor) -> Tensor:
    """Subtract from gradients (..., features) their components along as many vectors, float32 at least."""
    along = (gradient * vectors).sum(dim=-1, keepdim=True)
    square = (vectors * vectors).sum(dim=-1, keepdim=True)
    return torch.addcmul(gradient, vectors, along / square.clamp(min=1e-12), value=-1)
