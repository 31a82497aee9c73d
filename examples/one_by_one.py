"""A classifier with `learn_one` and `predict_one`, in the shape of river's and deep-river's, that remembers.

A valve is opened at random, and what is due two readings later is known only then. A model that is updated after every
reading by that reading's loss alone learns next to nothing of it. One whose synthetic gradients come six readings late,
of what has been seen by then, does: no window is kept to be run through again, and no future is asked for.

    $ python examples/one_by_one.py
    right in the last 300 readings: 0.50 truncated, 1.00 with synthetic gradients
"""

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import sgrnn


class Classifier:
    def __init__(self, features: int, size: int = 32, **options: Any) -> None:
        self.core, self.head = nn.LSTM(features, size), nn.Linear(size, 1)
        optimizer = torch.optim.Adam([*self.core.parameters(), *self.head.parameters()], lr=1e-2)
        self.stream = sgrnn.Stream(self.core, self.loss, optimizer, clip=1.0, **options)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(self.head(outputs), targets, reduction="none").squeeze(-1)

    def learn_one(self, x: dict[str, float], y: bool) -> "Classifier":
        self.stream.step(self.row(x), torch.tensor([[float(y)]]))
        return self

    def predict_one(self, x: dict[str, float]) -> bool:
        return bool(self.head(self.stream.predict(self.row(x))) > 0)

    def row(self, x: dict[str, float]) -> torch.Tensor:
        return torch.tensor([[x[name] for name in sorted(x)]])


def share_that_is_right(classifier: Classifier, readings: int = 1600, last: int = 300) -> float:
    drawn, valve, right = random.Random(0), [False] * 3, 0
    for reading in range(readings):
        valve = [*valve[1:], drawn.random() < 0.5]
        x, y = {"valve": 2.0 * valve[-1] - 1, "pressure": drawn.gauss(0, 0.1)}, valve[0]
        right += reading >= readings - last and classifier.predict_one(x) == y
        classifier.learn_one(x, y)
    return right / last


if __name__ == "__main__":
    torch.manual_seed(0)
    truncated = Classifier(2, estimator=lambda core, loss: sgrnn.TruncatedBPTT(core, loss, window=1))
    shares = [share_that_is_right(each) for each in (truncated, Classifier(2, delay=6, synthesizer_rate=1e-2))]
    print("right in the last 300 readings: {:.2f} truncated, {:.2f} with synthetic gradients".format(*shares))
