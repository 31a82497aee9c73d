"""Training of one seed is the same bit for bit, also where it was saved half way and loaded."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
import torch
from models import SIZE, divide, make_hierarchy, make_language_model, make_text
from tolerances import assert_identical
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.estimators import (
    BPTT,
    Checkpointed,
    ControlVariate,
    Delayed,
    ExactAhead,
    GradientEstimator,
    SyntheticGradients,
    TruncatedBPTT,
)
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.schedules import Alternate, Bernoulli, Ramp, WarmRestarts
from sgrnn.models.language_model import LanguageModel
from sgrnn.state import State
from sgrnn.synthesizers import Synthesizer


def synthetic(model: LanguageModel, window: int, synthesizer: Synthesizer, **options: Any) -> SyntheticGradients:
    return SyntheticGradients(model, model.loss, window, synthesizer=synthesizer, **options)


ESTIMATORS: dict[str, Callable[[LanguageModel], GradientEstimator]] = {
    "full": lambda model: BPTT(model, model.loss),
    "truncated": lambda model: TruncatedBPTT(model, model.loss, 3, parallel=True),
    "checkpointed": lambda model: Checkpointed(model, model.loss, 2),
    "overlapping": lambda model: TruncatedBPTT(model, model.loss, 15, every=6),
    "reaching back": lambda model: TruncatedBPTT(model, model.loss, 7, every=6),
    "exact ahead": lambda model: ExactAhead(model, model.loss, 3, 2),
    "synthetic": lambda model: synthetic(
        model, 3, model.synthesizer(5, hidden_size=8, rank=4, projection=3), discount=0.8, remove_mean=True,
        shuffle=True, parallel=True, ema_decay=0.8,
    ),
    "diagonal, from targets": lambda model: synthetic(
        model, 3, model.diagonal_synthesizer(5, rank=2), ahead="targets", run_ahead=1, parallel=True
    ),
    "adjoint": lambda model: synthetic(model, 3, model.adjoint_synthesizer(3), parallel=True),
    "perceptron": lambda model: synthetic(
        model, 2, model.mlp_synthesizer(3, hidden_sizes=(8,), auxiliary=True), discount=0.9, trace_decay=0.3,
        ema_decay=0.9,
    ),
    "low memory": lambda model: synthetic(model, 2, model.synthesizer(5), low_memory=True),
    "by turns": lambda model: Mixed(
        synthetic(model, 3, model.synthesizer(4), parallel=True), Alternate(WarmRestarts(0.5, 2), first=1.0),
        real_window=3, updates_per_unit=3,
    ),
    "by chance, grounded": lambda model: Mixed(
        synthetic(model, 2, model.synthesizer(4)), Bernoulli(0.6, seed=2), ground_every=2, ground_window=4
    ),
    "control variate": lambda model: ControlVariate(
        synthetic(model, 3, model.synthesizer(4), parallel=True), 0.5, seed=3
    ),
    "delayed": lambda model: Delayed(synthetic(model, 6, model.synthesizer(9))),
    "ramp": lambda model: Mixed(synthetic(model, 3, model.synthesizer(4)), Ramp(start=1, stop=8), real_window=6),
}  # fmt: skip
SPANS = divide(
    make_text(60, is_first=[(0, 0), (0, 1), (24, 2), (31, 0)], is_last=torch.ones(3, dtype=torch.bool)),
    [6] * 10,
    futures=True,
)


class Training:
    """Ten updates, as a user writes them."""

    def __init__(self, kind: str, seed: int, core: nn.Module | None = None) -> None:
        dropout = 0.0 if kind in ("exact ahead", "control variate", "delayed") else 0.2  # which they refuse
        core = core or LSTM(SIZE, SIZE, 2, dropout=dropout)
        self.model = make_language_model(core, torch.float32, seed, dropout=dropout)
        self.estimator = ESTIMATORS[kind](self.model)
        self.optimizers = [torch.optim.Adam(self.model.parameters(), 1e-2)]
        if list(self.estimator.parameters()):
            self.optimizers.append(torch.optim.Adam(self.estimator.parameters(), 1e-2))
        self.state: State = self.model.initial_state(3)
        self.seen: list[dict[str, Tensor]] = []

    def update(self, numbers: range) -> None:
        for number in numbers:
            step = self.estimator.backward(SPANS[number], self.state)
            self.state = step.state
            self.seen.append({"loss": step.loss, **step.metrics})
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad()

    def saved(self) -> Any:
        return {
            "model": self.model.state_dict(),
            "estimator": self.estimator.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "state": self.state,
            "random": torch.get_rng_state(),
        }

    def load(self, saved: Any) -> None:
        self.model.load_state_dict(saved["model"])
        self.estimator.load_state_dict(saved["estimator"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.state = saved["state"]
        torch.set_rng_state(saved["random"])


def train(kind: str, seed: int, core: nn.Module | None = None) -> Training:
    training = Training(kind, seed, core)
    training.update(range(10))
    return training


@pytest.mark.parametrize(("kind", "saved_after"), [*zip(ESTIMATORS, [3, 5, 8] * 5, strict=False)])
def test_ten_updates_are_some_a_save_a_load_and_the_rest(kind: str, saved_after: int) -> None:
    assert_resumes(kind, saved_after)


@pytest.mark.parametrize(("kind", "saved_after"), [("truncated", 1), ("synthetic", 3), ("overlapping", 4)])
def test_a_hierarchy_resumes_at_any_phase(kind: str, saved_after: int) -> None:
    """Spans of 6 steps end in the midst of periods of 4 and 5."""
    assert_resumes(kind, saved_after, lambda: make_hierarchy(1, 4, 5))


def assert_resumes(kind: str, saved_after: int, make_core: Callable[[], nn.Module | None] = lambda: None) -> None:
    """Train twice with one seed, the second time with a pause, after which a training of another seed goes on."""
    whole = train(kind, 1, make_core())
    half = Training(kind, 1, make_core())
    half.update(range(saved_after))
    file = BytesIO()
    torch.save(half.saved(), file)
    file.seek(0)
    resumed = Training(kind, 2, make_core())
    assert not torch.equal(resumed.model.embedding.weight, half.model.embedding.weight)
    resumed.load(torch.load(file, weights_only=True))
    resumed.update(range(saved_after, 10))
    assert_identical(half.seen + resumed.seen, whole.seen)
    assert_identical(resumed.saved(), whole.saved())
