"""Features of the steps ahead for a synthesizer, read from the model at each call.

So a synthesizer does not hold the model: a copy of it, or what is saved of it, is its own parts alone.
"""

from weakref import WeakKeyDictionary, ref

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrnn.contract.modules import method_of
from sgrnn.span import Span, Steps
from sgrnn.state import State, floating_leaves, leaves, state_size
from sgrnn.synthesizers.lookahead import StepsAfter
from sgrnn.synthesizers.synthesizer import Synthesizer

# Synthesizers that were looked at, and the model that each fits: once is enough, and costs nothing later.
_fitting: WeakKeyDictionary[nn.Module, ref[nn.Module]] = WeakKeyDictionary()


@torch.no_grad()
def read_features(model: nn.Module, synthesizer: Synthesizer, span: Span, ahead: StepsAfter) -> Tensor | None:
    """Return the features of the first steps ahead, (reads, R, feature_size); None if the synthesizer reads none.

    They are what the model's method ``input_features(inputs)`` gives, or ``step_features(inputs, targets)`` for a
    synthesizer that sees targets; without such a method inputs, and targets beside them, as vectors: numbers as they
    are, ids by the model's embedding if it has a single one.

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
    features = features_of(model, read.inputs(span), read.targets(span) if synthesizer.sees_targets else None)
    size = synthesizer.feature_size
    if features.dim() != 3 or (size is not None and features.shape[2] != size):
        raise ValueError(
            f"features must be (steps, rows, {size}), as the synthesizer's feature_size says, got "
            f"{tuple(features.shape)}"
        )
    return features


def require_synthesizer(synthesizer: Synthesizer, model: nn.Module, state: State) -> None:
    """Refuse a synthesizer for a state of another size, and one that would train the model.

    Raises:
        ValueError: its ``state_size`` is not that of the state, the state holds nothing to be predicted for, or
            synthesizer and model share a parameter.
    """
    require_size(synthesizer.state_size, state)
    if (seen := _fitting.get(synthesizer)) is not None and seen() is model:
        return
    if any(part is synthesizer for part in model.modules()):
        raise ValueError(
            "the synthesizer is a part of the model, and would be trained as one: keep the estimator outside of the "
            "model that it is of, or make it of another part (self.core)"
        )
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
            f"one for {expected}: or the state handed over is none of the model's"
        )


@torch.no_grad()
def features_of(model: nn.Module, inputs: Steps, targets: Steps | None = None) -> Tensor:
    """Return the features of inputs, and of targets if given, as `read_features` describes them.

    Raises:
        ValueError: they are ids, and the model does not say what vectors stand for them.
    """
    method = method_of(model, "input_features" if targets is None else "step_features")
    if method is not None:
        return method(inputs) if targets is None else method(inputs, targets)
    return torch.cat(
        [_vectors(model, steps) for steps in leaves([inputs, targets] if targets is not None else inputs)], 2
    )


def _vectors(model: nn.Module, steps: Tensor) -> Tensor:
    """Return steps that are numbers, vectors or ids as (steps, rows, features)."""
    if steps.dtype in (torch.int32, torch.int64):
        embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
        if len(embeddings) == 1:
            # Zeros for an id below zero, by which losses know a step without a target.
            vectors = (F.embedding(steps.clamp(min=0), embeddings[0].weight) * (steps >= 0).unsqueeze(-1)).flatten(2)
            return F.layer_norm(vectors, vectors.shape[2:])  # a young embedding's are too small to be noticed
    if not steps.is_floating_point():
        raise ValueError(
            f"a synthesizer cannot read steps in {steps.dtype}: give the model a method input_features(inputs), or "
            "step_features(inputs, targets), that makes vectors (steps, rows, features) of them"
        )
    return steps.unsqueeze(2) if steps.dim() == 2 else steps.flatten(2)
