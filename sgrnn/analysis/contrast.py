"""What runs on a text have learned: what their states know, and how two of them differ."""

from math import isfinite
from typing import Any

import torch
from torch import Tensor

from sgrnn.analysis.numbers import numbers, plain
from sgrnn.cores.dropout import without_dropout
from sgrnn.diagnostics import (
    Difference,
    agreement,
    by_frequency,
    by_place,
    dissimilarities,
    loss_difference,
    probe_memory,
    state_parts,
)
from sgrnn.errors import InputError
from sgrnn.models.evaluation import token_losses
from sgrnn.models.language_model import LanguageModel
from sgrnn.state import to_matrix
from sgrnn.training.best import Trained
from sgrnn.training.problems.text_problem import TextProblem

_ROWS, _STEPS = 20, 300  # of the valid split, for probes
_LAGS = (0, 1, 2, 3, 5, 8, 13, 20)
_COMPARED = 300  # states, for dissimilarity


def memory_metrics(trained: Trained) -> dict[str, Any] | None:
    """What the state knows of the tokens read, on the valid split; None for a task, or a split too short for it."""
    problem, model = trained.problem, trained.model
    if not isinstance(problem, TextProblem):
        return None
    tokens = _tokens(problem, "valid")
    steps = min(_STEPS, len(tokens) // _ROWS)
    lags = [lag for lag in _LAGS if steps >= 6 * (lag + 1)]
    if not lags:
        return None
    rows = tokens[: steps * _ROWS].view(_ROWS, steps).t().contiguous()
    found = probe_memory(model, rows, model.initial_state(_ROWS), lags)
    metrics = {name: numbers(getattr(found, name)) for name in ("accuracy", "error", "baseline")}
    return {"lags": lags, **metrics}


def contrast(one: Trained, other: Trained) -> dict[str, Any]:
    """Where one run is better than another on the valid split, and how alike their states are.

    Raises:
        InputError: they have not learned the same text.
    """
    problem = one.problem
    if not isinstance(problem, TextProblem) or problem.identity != other.problem.identity:
        raise InputError(
            f"{one.run.folder} and {other.run.folder} must have learned the same text with the same tokenizer to be "
            f"compared token by token, got {one.problem.description} and {other.problem.description}"
        )
    assert isinstance(one.model, LanguageModel)
    assert isinstance(other.model, LanguageModel)
    tokens = _tokens(problem, "valid")
    ours, theirs = (token_losses(each, tokens, problem.files.eos_id).cpu() for each in (one.model, other.model))
    frequency = by_frequency(tokens, _tokens(problem, "train"), problem.files.vocabulary_size)
    return {
        "run": other.run.name,
        "frequency": _difference(loss_difference(ours, theirs, frequency)),
        "place": _difference(loss_difference(ours, theirs, by_place(tokens, problem.files.eos_id))),
        "agreement": _agreement(one.model, other.model, tokens),
    }


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "groups": found.names,
        "tokens": numbers(found.counts),
        "difference": plain(found.mean),
        "share": numbers(found.share),
    }


@torch.no_grad()
def _agreement(one: LanguageModel, other: LanguageModel, tokens: Tensor) -> dict[str, float | None]:
    """By part of the state, as far as both have it, on the states after the first tokens of as many stretches."""
    steps = max(len(tokens) // _COMPARED, 1)
    number = min(_COMPARED, len(tokens) // steps)
    rows = tokens[: steps * number].view(number, steps).t()[:50]
    states = []
    for model in (one, other):
        with without_dropout(model):
            states.append(model(rows, model.initial_state(number))[1])
    matrices = [to_matrix(state) for state in states]
    parts = [state_parts(state) for state in states]
    shared = [name for name in parts[0] if name in parts[1]] if number > 2 else []
    found = {
        name: agreement(*(dissimilarities(matrix[:, each[name]]) for matrix, each in zip(matrices, parts, strict=True)))
        for name in shared
    }
    return {name: value if isfinite(value) else None for name, value in found.items()}


def _tokens(problem: TextProblem, split: str) -> Tensor:
    return torch.from_numpy(problem.files[split].array.astype("int64"))
