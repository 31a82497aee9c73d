"""The synthesizer that fits a model, its sizes read off the model by one step."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.caller import Caller
from sgrnn.contract.layout import require_rows, require_time_first
from sgrnn.contract.modules import evaluating, forked_random, method_of, tensor_of
from sgrnn.cores import first_state
from sgrnn.estimators.features import features_of
from sgrnn.sequences import time_first
from sgrnn.span import Steps
from sgrnn.state import State, at_least_float32, detach, floating_leaves, map_state, state_size, trailing_size
from sgrnn.synthesizers import ErrorSynthesizer, Synthesizer

# What a model may raise that is given other inputs than it reads.
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)


@dataclass(frozen=True)
class Sample:
    """One step of one row through a model.

    Args:
        inputs, outputs: (1, 1, ...), or nests of such.
        state: the one in which its sequences begin.
        like: a tensor in the model's precision, float32 at least, and on its device.
    """

    inputs: Steps
    outputs: Any
    state: State
    like: Tensor


def fitting_synthesizer(model: nn.Module, lookahead: int, example: Any = None) -> Synthesizer:
    """Make a synthesizer that fits a model: its own method ``synthesizer(lookahead)``, or an `ErrorSynthesizer`.

    The sizes of state and outputs are found by running the model for one step of one row. Its precision, float32 at
    least, and its device are the model's.

    Args:
        model: ``model(inputs, state) -> (outputs, state)``.
        lookahead: n, steps ahead that it sees.
        example: as `sample`.

    Raises:
        ValueError: the model cannot be run without an example.
    """
    if (method := method_of(model, "synthesizer")) is not None:
        like = at_least_float32(tensor_of(model))
        return method(lookahead).to(like.device, like.dtype)
    of_one = sample(model, example)
    output_size = sum(tensor[0, 0].numel() for tensor in floating_leaves(of_one.outputs))
    made = ErrorSynthesizer(
        state_size(of_one.state), output_size, features_of(model, of_one.inputs).shape[2], lookahead=lookahead,
        aligned_size=trailing_size(of_one.state, output_size),
    )  # fmt: skip
    return made.to(of_one.like.device, of_one.like.dtype)


def sample(model: nn.Module, example: Any = None) -> Sample:
    """Run a model for one step of one row, and leave it as it is.

    Args:
        model: ``model(inputs, state) -> (outputs, state)``.
        example: inputs (time, batch, ...) of the model; None for a model that runs on what one of its layers reads: ids
            where it has an embedding, or else as many features as a layer takes.

    Raises:
        ValueError: the model cannot be run without an example.
    """
    if example is not None:
        return _run(model, map_state(lambda steps: steps[:1, :1].detach(), time_first("example", example)))
    require_time_first(model)
    name, found = type(model).__name__, ""
    for step in _guesses(model):
        try:
            return _run(model, step)
        except _FAILURES as error:
            found = found or f"{name} cannot be run on {tuple(step.shape)}, as a layer reads ({error}): mend that, or "
    found = found or f"{name} does not tell what a step of its inputs is: "
    raise ValueError(f"{found}give some of its inputs (example=inputs), or a synthesizer")


def _run(model: nn.Module, step: Steps) -> Sample:
    like = at_least_float32(tensor_of(model))
    model = getattr(model, "_orig_mod", model)  # nothing is compiled for a step of one row
    state = detach(first_state(model, step))
    require_rows(state, 1)
    with torch.no_grad(), forked_random(like.device), kept_buffers(model), evaluating(model):
        outputs, _ = Caller(model)(step, state)
    return Sample(step, outputs, state, like)


def _guesses(model: nn.Module) -> Iterator[Tensor]:
    """Yield what a step of one row may be: zeros as the model says or its layers read them."""
    like, modules = tensor_of(model), list(model.modules())
    if any(isinstance(module, nn.Embedding) for module in modules):
        yield like.new_zeros((1, 1), dtype=torch.long)
    sizes = [getattr(module, name, None) for module in modules for name in ("input_size", "in_features")]
    for size in dict.fromkeys(sizes):
        if isinstance(size, int):
            yield like.new_zeros(1, 1, size)
