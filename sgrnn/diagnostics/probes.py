"""Linear probes of a state for the tokens that came before it (Alain & Bengio 2017).

Closed-form ridge regression to one column for each class, the largest column being the answer: no library and no
iterations are needed, and a probe that is linear is what is wanted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sgrnn.diagnostics.isolation import undisturbed
from sgrnn.state import State, to_matrix

_CLASSES = 50  # the most frequent ones; what is rarer is a class of its own
_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # per sample, of standardized features


@dataclass(frozen=True)
class Probes:
    """Accuracy with which tokens of the past are read off a state.

    Args:
        lags: how many steps before the last that was read a token lies; 0 is that token itself.
        accuracy: (lags,) share of right answers on samples never seen.
        error: (lags,) its standard error.
        baseline: (lags,) that of always answering the most frequent class.
    """

    lags: list[int]
    accuracy: Tensor
    error: Tensor
    baseline: Tensor


@torch.no_grad()
def probe_memory(model: nn.Module, tokens: Tensor, state: State, lags: Sequence[int]) -> Probes:
    """Probe a model's state for the tokens it has read.

    Args:
        model: ``model(inputs, state) -> (outputs, state)`` that reads tokens.
        tokens: (steps, rows) what it reads. States of the first two thirds of the steps are learned from.
        state: before the first step.
        lags: increasing.

    Raises:
        ValueError: there are fewer steps than six for each step of the longest lag.
    """
    longest = max(lags, default=0)
    if len(tokens) < 6 * (longest + 1):
        raise ValueError(f"tokens must be at least {6 * (longest + 1)} steps for a lag of {longest}, got {len(tokens)}")
    states = []
    with undisturbed(model):
        for step in tokens.split(1):
            _, state = model(step, state)
            states.append(to_matrix(state).double())
    features = torch.stack(states[longest:])
    scores = []
    for lag in lags:
        labels = tokens[longest - lag : len(tokens) - lag]
        cut = len(labels) * 2 // 3
        test = labels[cut:].flatten()
        right, baseline = linear_probe(
            features[:cut].flatten(0, 1), labels[:cut].flatten(), features[cut:].flatten(0, 1), test
        )
        scores.append((right, (right * (1 - right) / len(test)) ** 0.5, baseline))
    accuracy, error, base = torch.tensor(scores, dtype=torch.float64).unbind(dim=1)
    return Probes(list(lags), accuracy, error, base)


def linear_probe(features: Tensor, labels: Tensor, unseen: Tensor, answers: Tensor) -> tuple[float, float]:
    """Fit a linear probe, and return its accuracy on other examples and that of naming the most frequent class.

    Args:
        features: (n, features) to fit it to, in double precision.
        labels: (n,) classes from 0 on.
        unseen: (m, features).
        answers: (m,) classes.
    """
    frequent = labels.bincount().argsort(descending=True)[:_CLASSES]
    place = torch.full((int(max(labels.max(), answers.max())) + 1,), len(frequent), dtype=torch.long)
    place[frequent.cpu()] = torch.arange(len(frequent))
    classes, wanted = place[labels.cpu()].to(labels.device), place[answers.cpu()].to(labels.device)
    cut = len(features) * 3 // 4
    best = max(_PENALTIES, key=lambda penalty: _score(
        _fit(features[:cut], classes[:cut], len(frequent) + 1, penalty), features[cut:], classes[cut:]
    ))  # fmt: skip
    accuracy = _score(_fit(features, classes, len(frequent) + 1, best), unseen, wanted)
    return accuracy, float((wanted == classes.mode().values).double().mean())


def _fit(features: Tensor, classes: Tensor, number: int, penalty: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return mean and scale of the features, the weights, and the classes' shares."""
    mean, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-12)
    standard = (features - mean) / scale
    columns = nn.functional.one_hot(classes, number).to(features)
    share = columns.mean(dim=0)
    gram = standard.T @ standard + penalty * len(features) * torch.eye(features.shape[1]).to(features)
    return mean, scale, torch.linalg.solve(gram, standard.T @ (columns - share)), share


def _score(fitted: tuple[Tensor, Tensor, Tensor, Tensor], features: Tensor, classes: Tensor) -> float:
    mean, scale, weights, share = fitted
    return float((((features - mean) / scale @ weights + share).argmax(dim=1) == classes).double().mean())
