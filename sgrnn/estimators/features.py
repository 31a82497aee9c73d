"""Features of the steps ahead for a synthesizer, read from the model at each call.

So a synthesizer does not hold the model: a copy of it, or what is saved of it, is its own parts alone.
"""

from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

from sgrnn.contract.modules import method_of
from sgrnn.span import Span
from sgrnn.state import State, floating_leaves, state_size
from sgrnn.synthesizers.lookahead import StepsAfter
from sgrnn.synthesizers.synthesizer import Synthesizer

# Synthesizers that were looked at, and the model that each fits: once is enough, and costs nothing later.
_fitting: WeakKeyDictionary[nn.Module, ref[nn.Module]] = WeakKeyDictionary()


@torch.no_grad()
def read_features(model: nn.Module, synthesizer: Synthesizer, span: Span, ahead: StepsAfter) -> Tensor | None:
    """Return the features of the first steps ahead, (reads, R, feature_size); None if the synthesizer reads none.

    They are what the model's method ``input_features(inputs)`` gives, or ``step_features(inputs, targets)`` for a
    synthesizer that sees targets; without such a method inputs, and targets beside them, that are vectors already.

    Args:
        model: the model that is trained.
        synthesizer: the synthesizer that reads the features.
        span: with its future.
        ahead: the steps.

    Raises:
        ValueError: the features are not as many as the synthesizer reads, or there are none.
    """
    if not synthesizer.reads:
        return None
    read = StepsAfter(ahead.places[: synthesizer.reads], None)
    inputs = read.inputs(span)
    if synthesizer.sees_targets:
        method, targets = method_of(model, "step_features"), read.targets(span)
        features = method(inputs, targets) if method else torch.cat([_vectors(inputs), _vectors(targets)], dim=-1)
    else:
        method = method_of(model, "input_features")
        features = method(inputs) if method else _vectors(inputs)
    size = synthesizer.feature_size
    if features.dim() != 3 or (size is not None and features.shape[2] != size):
        raise ValueError(
            f"features must be (steps, rows, {size}), as the synthesizer's feature_size says, got "
            f"{tuple(features.shape)}"
        )
    return features


def require_fit(synthesizer: Synthesizer, model: nn.Module, state: State) -> None:
    """Refuse a synthesizer for a state of another size, and one that would train the model.

    Raises:
        ValueError: its ``state_size`` is not that of the state, the state holds nothing to be predicted for, or
            synthesizer and model share a parameter.
    """
    require_size(synthesizer.state_size, state)
    if (seen := _fitting.get(synthesizer)) is not None and seen() is model:
        return
    shared = {id(parameter) for parameter in model.parameters()}
    for name, parameter in synthesizer.named_parameters():
        if id(parameter) in shared:
            raise ValueError(
                f"the synthesizer's {name} is a parameter of the model, and would be trained by both: let the model's "
                "method input_features or step_features hand over what it reads"
            )
    _fitting[synthesizer] = ref(model)


def require_size(expected: int | None, state: State) -> None:
    """Refuse a state of another size than a synthesizer predicts for, or without a floating-point tensor.

    Raises:
        ValueError: the state has other sizes, or holds no floating-point tensor.
    """
    if not floating_leaves(state):
        raise ValueError("the model must carry a floating-point state: without one no gradient crosses a boundary")
    if expected is not None and expected != (found := state_size(state)):
        raise ValueError(
            f"synthesizer must predict for the {found} features of a row of the model's state (sgrnn.state_size), got "
            f"one for {expected}"
        )


def _vectors(steps: Tensor) -> Tensor:
    """Return steps that are numbers or vectors as (steps, rows, features)."""
    if not steps.is_floating_point():
        raise ValueError(
            f"a synthesizer cannot read steps in {steps.dtype}: give the model a method input_features(inputs), or "
            "step_features(inputs, targets), that makes vectors (steps, rows, features) of them"
        )
    return steps.unsqueeze(2) if steps.dim() == 2 else steps.flatten(2)
