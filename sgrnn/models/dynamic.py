"""Dynamic evaluation: a language model that goes on learning from the text that it is scored on.

Krause et al. (2018), "Dynamic evaluation of neural sequence models". A text is read window by window. The tokens of a
window are scored by the weights that have learned from all windows before it, and then these learn from it
(`DynamicEvaluation` has the equations).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import final

import torch
from torch import Tensor, nn

from sgrnn.contract.caller import Caller
from sgrnn.contract.modules import evaluating, tensor_of
from sgrnn.errors import InputError, at_least
from sgrnn.estimators.unroll import run
from sgrnn.models.language_model import LanguageModel
from sgrnn.state import detach


@final
@dataclass(frozen=True)
class DynamicEvaluation:
    """Settings of dynamic evaluation (Krause et al. 2018).

        θ <- θ - η g / (RMS + ε) + λ R (θ_trained - θ),   R = min(RMS / mean RMS, 1 / λ)      RMS form
        θ <- θ - η g             + λ   (θ_trained - θ)                                        SGD form

    g is the gradient of the window's mean loss, by back-propagation through the window alone. RMS is the root mean
    square of such gradients over the train text, for the trained weights: a weight that training moved little moves
    little here, and goes back to where it was more slowly. The mean of it is over the parameter tensors, of the mean of
    each, as in the authors' own program.

    Args:
        learning_rate: η. Settings of the authors' first program, 0.002, 0.02 and 0.001 for η, λ and ε, are in other
            units, sums over windows and tensors in the place of means; the defaults here are about the same in these.
        decay: λ, how far the weights go back to the trained ones with every window.
        window: T, steps that are scored together and then learned from.
        rms: of the gradients on the train text, as `gradient_rms` gives it; None for the SGD form, which needs other
            rates (0.1, say).
        epsilon: ε, of the RMS form.

    Raises:
        InputError: a setting is out of range.
    """

    learning_rate: float = 5e-5
    decay: float = 2e-3
    window: int = 5
    rms: Sequence[Tensor] | None = None
    epsilon: float = 2e-5

    def __post_init__(self) -> None:
        at_least("window", self.window, 1, "step", kind=InputError)
        for name, value in (("learning_rate", self.learning_rate), ("epsilon", self.epsilon)):
            if not 0 < value < inf:
                raise InputError(f"{name} must be above 0, got {value}")
        if not 0 <= self.decay < 1:
            raise InputError(f"decay must be at least 0 and below 1, got {self.decay}")

    def factors(self, model: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """Return for each parameter that learns what its gradient is multiplied by, and its way back.

        Raises:
            InputError: `rms` is of another model.
        """
        learning = learning_parameters(model)
        if self.rms is None:
            like = tensor_of(model)
            return [(like.new_tensor(self.learning_rate), like.new_tensor(self.decay))] * len(learning)
        if [each.shape for each in self.rms] != [each.shape for each in learning]:
            raise InputError("rms must be of this model's gradients, as gradient_rms gives it, got that of another")
        mean = torch.stack([each.mean() for each in self.rms]).mean()
        return [
            (self.learning_rate / (each + self.epsilon), (self.decay * each / mean).clamp(max=1.0)) for each in self.rms
        ]


def learning_parameters(model: nn.Module) -> list[Tensor]:
    """Return the parameters that dynamic evaluation changes: those that require a gradient, each once.

    Raises:
        InputError: there are none.
    """
    learning: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not learning:
        raise InputError("dynamic evaluation needs parameters that require a gradient, got a model with none")
    return learning


def gradient_rms(
    model: LanguageModel,
    tokens: Tensor,
    first: int,
    *,
    window: int = 5,
    begins: Tensor | None = None,
    batch_size: int = 100,
) -> list[Tensor]:
    """Return the root mean square of the gradients of a text's windows, one tensor for each parameter that learns.

    The text is read in rows side by side, as in training, each from the initial state on. A gradient is that of the
    mean loss of a window of all rows: with more rows it has less noise, so that other learning rates fit. What is left
    over at the end of the text, fewer tokens than rows, is not read.

    Args:
        model: in any mode; its dropout is off, and neither weights nor `.grad` are touched.
        tokens: (N,) the train text, or a part of it.
        first: the token read before it.
        window: T, as in `DynamicEvaluation`.
        begins: (N,) bool, the tokens before which the state is reset; None for none.
        batch_size: rows, fewer where the text has not a window for each.

    Raises:
        ValueError: no tokens, or window or batch_size below 1.
    """
    for name, value in (("tokens", len(tokens)), ("window", window), ("batch_size", batch_size)):
        at_least(name, value, 1)
    rows = max(1, min(batch_size, len(tokens) // window))
    targets = tokens.to(tensor_of(model).device)
    inputs, targets, is_first = (
        None if steps is None else steps[: len(steps) // rows * rows].view(rows, -1).t()
        for steps in (_read_before(targets, first), targets, None if begins is None else begins.to(targets.device))
    )
    assert inputs is not None
    assert targets is not None
    learning, caller, state = learning_parameters(model), Caller(model), model.initial_state(rows)
    sums, windows = [torch.zeros_like(each) for each in learning], 0
    with evaluating(model), _differentiable():
        for start in range(0, len(targets), window):
            steps = slice(start, start + window)
            begin = None if is_first is None else is_first[steps]
            outputs, state = run(caller, inputs[steps], detach(state), begin)
            gradients = _gradients(model.loss(outputs, targets[steps]), learning)
            for total, gradient in zip(sums, gradients, strict=True):
                total.addcmul_(gradient, gradient)
            windows += 1
    return [(total / windows).sqrt() for total in sums]


def dynamic_nats(
    model: LanguageModel, tokens: Tensor, first: int, settings: DynamicEvaluation, *, begins: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Score a text window by window, learning from each after it was scored.

    Args:
        model: in any mode; a copy of it learns, in evaluation mode, so that it stands afterwards as before.
        tokens: (N,) the text.
        first: the token read before it.
        settings: learning rate, decay and window, and the RMS of gradients.
        begins: (N,) bool, the tokens that begin a sequence of their own: there the state is reset, the weights are the
            trained ones again, and a window begins. None for one sequence from first to last.

    Returns:
        The negative log-probability of each token, (N,) float64, and the outputs that predicted it, (N, output_size).

    Raises:
        ValueError: no tokens, or settings of another model.
    """
    at_least("tokens", len(tokens), 1)
    targets = tokens.to(tensor_of(model).device).unsqueeze(1)
    inputs = _read_before(targets, first)
    adapted = deepcopy(model).eval()
    trained, learning, caller = learning_parameters(model), learning_parameters(adapted), Caller(adapted)
    factors = settings.factors(model)
    nats: list[Tensor] = []
    features: list[Tensor] = []
    with _differentiable():
        for first_step, end in _sequences(begins, len(tokens)):
            _copy(trained, learning)
            state = adapted.initial_state(1)
            for start in range(first_step, end, settings.window):
                steps = slice(start, min(start + settings.window, end))
                outputs, state = run(caller, inputs[steps], detach(state))
                losses = adapted.loss(outputs, targets[steps])
                nats.append(losses.detach().double())
                features.append(outputs.detach())
                if steps.stop < end:  # nobody is scored by what the last window teaches
                    _learn(learning, trained, _gradients(losses, learning), factors)
    return torch.cat(nats).squeeze(1), torch.cat(features).squeeze(1)


@torch.no_grad()
def _learn(
    learning: list[Tensor], trained: list[Tensor], gradients: Sequence[Tensor], factors: list[tuple[Tensor, Tensor]]
) -> None:
    for parameter, home, gradient, (rate, back) in zip(learning, trained, gradients, factors, strict=True):
        parameter.lerp_(home, back).addcmul_(gradient, rate, value=-1.0)


@torch.no_grad()
def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    for one, other in zip(source, target, strict=True):
        other.copy_(one)


def _gradients(losses: Tensor, parameters: list[Tensor]) -> Sequence[Tensor]:
    """Return the gradients of the mean loss, zeros where it does not depend on a parameter; no `.grad` is touched."""
    return torch.autograd.grad(losses.mean(), parameters, materialize_grads=True)


def _read_before(tokens: Tensor, first: int) -> Tensor:
    """Return the token that is read before each."""
    return torch.cat([torch.full_like(tokens[:1], first), tokens[:-1]])


def _sequences(begins: Tensor | None, length: int) -> Iterator[tuple[int, int]]:
    """Yield first step and end of each sequence of a text."""
    starts = [] if begins is None else begins.nonzero().flatten().tolist()
    return pairwise(sorted({0, *starts, length}))


@contextmanager
def _differentiable() -> Iterator[None]:
    """Compute graphs, also under no_grad, and without cuDNN, which has no backward pass in evaluation mode."""
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        yield
