"""The synthesizer that fits a model, its sizes read off the model by one step."""

from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.caller import Caller
from sgrnn.contract.layout import require_time_first
from sgrnn.contract.modules import evaluating, method_of, tensor_of
from sgrnn.cores import first_state
from sgrnn.estimators.ahead import forked_random
from sgrnn.estimators.features import features_of
from sgrnn.sequences import time_first
from sgrnn.span import Steps
from sgrnn.state import State, at_least_float32, detach, floating_leaves, leaves, map_state, state_size, trailing_size
from sgrnn.synthesizers import ErrorSynthesizer, Synthesizer

_REMEDY = "give some of them (example=inputs), or a synthesizer"
# What a model may raise that is given other inputs than it reads.
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
_READERS = {nn.Embedding: None, nn.Linear: "in_features", nn.RNNBase: "input_size", nn.RNNCellBase: "input_size"}


def fitting_synthesizer(model: nn.Module, lookahead: int, example: Any = None) -> Synthesizer:
    """Make a synthesizer that fits a model: its own method ``synthesizer(lookahead)``, or an `ErrorSynthesizer`.

    The sizes of state and outputs are found by running the model for one step of one row. Its precision, float32 at
    least, and its device are the model's.

    Args:
        model: ``model(inputs, state) -> (outputs, state)``.
        lookahead: n, steps ahead that it sees.
        example: inputs (time, batch, ...) of the model; None for a model that tells what it reads, by an attribute
            ``input_size`` or by its first layer.

    Raises:
        ValueError: the model cannot be run without an example.
    """
    if (method := method_of(model, "synthesizer")) is not None:
        like = at_least_float32(tensor_of(model))
        return method(lookahead).to(like.device, like.dtype)
    outputs, state, like = probe(model, example)
    output_size = sum(tensor[0, 0].numel() for tensor in floating_leaves(outputs))
    features = features_of(model, first_step(model, example))
    made = ErrorSynthesizer(
        state_size(state), output_size, features.shape[2], lookahead=lookahead,
        aligned_size=trailing_size(state, output_size),
    )  # fmt: skip
    return made.to(like.device, like.dtype)


def probe(model: nn.Module, example: Any = None) -> tuple[Any, State, Tensor]:
    """Run a model for one step of one row, and leave it as it is.

    Args:
        model, example: as `fitting_synthesizer`.

    Returns:
        its outputs, the state in which its sequences begin, and a tensor in its precision, float32 at least, and on
        its device.

    Raises:
        ValueError: the model cannot be run without an example.
    """
    like, step = at_least_float32(tensor_of(model)), first_step(model, example)
    model = getattr(model, "_orig_mod", model)  # nothing is compiled for a step of one row
    try:
        state = detach(first_state(model, step))
        with torch.no_grad(), forked_random(like.device), kept_buffers(model), evaluating(model):
            outputs, _ = Caller(model)(step, state)
    except _FAILURES as error:
        if example is not None:
            raise
        (guess,) = leaves(step)
        raise ValueError(
            f"{type(model).__name__} cannot be run on inputs as its first layer reads them, {tuple(guess.shape)} in "
            f"{guess.dtype} ({error}): {_REMEDY}"
        ) from error
    return outputs, state, like


def first_step(model: nn.Module, example: Any = None) -> Steps:
    """Return inputs of one step and row: the first of an example, or zeros as a model's first layer reads them.

    Raises:
        ValueError: there is no example, and the model does not tell.
    """
    if example is not None:
        return map_state(lambda steps: steps[:1, :1].detach(), time_first("example", example))
    require_time_first(model)
    like = tensor_of(model)
    size = getattr(model, "input_size", None)
    if isinstance(size, int):
        return like.new_zeros(1, 1, size)
    for module in model.modules():
        for kind, name in _READERS.items():
            if isinstance(module, kind):
                ids = like.new_zeros((1, 1), dtype=torch.long)
                return ids if name is None else like.new_zeros(1, 1, getattr(module, name))
    raise ValueError(f"{type(model).__name__} does not tell what a step of its inputs is: {_REMEDY}")
