"""Training that was saved half way, what is carried forwards included, goes on bit for bit."""

from io import BytesIO
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, divide, make_span, squared_error
from tolerances import assert_identical
from torch import Tensor
from wrapped import WithReadout

from sgrnn.cores import GRU
from sgrnn.estimators import GradientEstimator
from sgrnn.estimators.online import RTRL, UORO, BPLambda, SnAp1
from sgrnn.state import State

ESTIMATORS = {
    "RTRL": lambda model, seed: RTRL(model, squared_error),
    "SnAp1": lambda model, seed: SnAp1(model, squared_error),
    "UORO": lambda model, seed: UORO(model, squared_error, seed=seed),
    "BPLambda": lambda model, seed: BPLambda(
        model, squared_error, learning_rate=0.1, discount=0.9, injection_scale=0.5
    ),
}
SPANS = divide(make_span(16, is_first=[(0, 0), (0, 1), (5, 2), (11, 0)]), [2] * 8, futures=True)


class Training:
    """Eight updates, as a user writes them."""

    def __init__(self, kind: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.model = WithReadout(GRU(SIZE, SIZE, 2).double(), seed)
        self.estimator: GradientEstimator = ESTIMATORS[kind](self.model, seed).double()
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-2)
        self.state: State = self.model.initial_state(ROWS)
        self.seen: list[dict[str, Tensor]] = []

    def update(self, numbers: range) -> None:
        for number in numbers:
            step = self.estimator.backward(SPANS[number], self.state)
            self.state = step.state
            self.seen.append({"loss": step.loss, **step.metrics})
            self.optimizer.step()
            self.optimizer.zero_grad()

    def saved(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "estimator": self.estimator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": self.state,
        }

    def load(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.estimator.load_state_dict(saved["estimator"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state = saved["state"]


@pytest.mark.parametrize(
    ("kind", "saved_after", "used"),
    [("RTRL", 0, 2), ("SnAp1", 3, 2), ("UORO", 3, 0), ("BPLambda", 3, 2)],
)
def test_eight_updates_are_some_a_save_a_load_and_the_rest(kind: str, saved_after: int, used: int) -> None:
    """Into an estimator that is new, or one that carries something already."""
    whole = Training(kind, 1)
    whole.update(range(8))
    half = Training(kind, 1)
    half.update(range(saved_after))
    file = BytesIO()
    torch.save(half.saved(), file)
    file.seek(0)
    resumed = Training(kind, 2)
    resumed.update(range(used))
    resumed.seen.clear()
    resumed.load(torch.load(file, weights_only=True))
    resumed.update(range(saved_after, 8))
    assert_identical(half.seen + resumed.seen, whole.seen)
    assert_identical(resumed.saved(), whole.saved())
    for name, tensor in whole.estimator.named_buffers():
        assert not tensor.requires_grad
        assert tensor.any() or name == "outputs_pattern", "which is for outputs that are no part of the state"
        assert torch.equal(whole.estimator.state_dict()[name], tensor)
