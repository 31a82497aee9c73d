"""Scale, shrinkage and training of a synthesizer's predictions, at boundaries and at interfaces between modules."""

import random
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import final

import torch
from torch import Tensor, nn

from sgrnn.all_reduce import AllReduce
from sgrnn.errors import at_least
from sgrnn.state import State, leaves, map_state, without_autocast
from sgrnn.synthesizers.running_means import RunningMeans
from sgrnn.synthesizers.shrinkage import Shrinkage
from sgrnn.synthesizers.synthesizer import Boundaries, Inject, Predictions, Synthesizer

FIRST = 1000
"""Updates in all of which a synthesizer learns, however rarely it does later."""


@dataclass(frozen=True)
class Moments:
    """Moments of predictions with their targets, summed over rows: those of several parts of a batch add up.

    Args:
        dot, square, power: <prediction, target>, |prediction|² and |target|², in true units.
        rows: number of rows that count.
        features: of a row.
    """

    dot: float
    square: float
    power: float
    rows: int
    features: int

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.dot + other.dot, self.square + other.square, self.power + other.power, self.rows + other.rows,
            self.features,
        )  # fmt: skip


@final
class GradientPredictor(RunningMeans):
    """Scale and shrink the predictions of a synthesizer, and train it on the gradients that arrive.

    Predictions are divided by a running root mean square of their targets, so that a synthesizer works in units of its
    own, and are shrunk as far as past ones were wrong (`Shrinkage`). Running means are float32 at least.

    Args:
        synthesizer: M. Its parameters are this module's parameters.
        shrinkage: True to shrink predictions; without, they are trusted from the first on.
        ema_decay: decay of the running means, per update.
        all_reduce: sums over the processes, where several share a batch (`sgrnn.all_reduce`): means and metrics are
            then those of all rows.
        learn_every: learn in all of the first 1,000 updates, and later in one of so many, drawn by their number.

    Raises:
        ValueError: `ema_decay` or `learn_every` is out of range.
    """

    mean_square: Tensor
    updates: Tensor
    begun: Tensor

    def __init__(
        self,
        synthesizer: nn.Module,
        *,
        shrinkage: bool = True,
        ema_decay: float = 0.99,
        all_reduce: AllReduce | None = None,
        learn_every: int = 1,
    ) -> None:
        super().__init__()
        if not 0 < ema_decay < 1:
            raise ValueError(f"ema_decay must be in (0, 1), got {ema_decay}")
        self.synthesizer, self.shrinkage, self.shrinks = synthesizer, Shrinkage(ema_decay), shrinkage
        self.ema_decay, self.all_reduce = ema_decay, all_reduce
        self.learn_every = at_least("learn_every", learn_every, 1, "update")
        self.begin_mean("mean_square", 1.0)
        self.begin_mean("updates")
        if self.learn_every > 1:
            self.register_buffer("begun", torch.zeros((), dtype=torch.long))

    def begin(self) -> bool:
        """Begin an update, and return whether its predictions are to be learned from."""
        if self.learn_every == 1:
            return True
        number = int(self.begun) - FIRST
        self.begun += 1
        # Drawn within each round: a beat could meet that of episodes or of grounding for ever.
        turn, place = divmod(number, self.learn_every)
        return turn < 0 or place == random.Random(turn).randrange(self.learn_every)

    @property
    def scale(self) -> Tensor:
        """Running root mean square of the targets' entries, a scalar."""
        return self.mean_square.sqrt()

    @property
    def trust(self) -> Tensor | float:
        """Shrinkage that predictions are multiplied by, in [0, 1]; 1 where they are not shrunk."""
        return self.shrinkage() if self.shrinks else 1.0

    def readable(self, state: State) -> State:
        """Convert floating-point tensors to the precision of the synthesizer's parameters, if it has any."""
        own = next((p.dtype for p in self.synthesizer.parameters() if p.is_floating_point()), None)
        if own is None or all(tensor.dtype == own for tensor in leaves(state)):
            return state
        return map_state(lambda tensor: tensor.to(own) if tensor.is_floating_point() else tensor, state)

    def weight(self, updates: float) -> float:
        """Return the weight of the newest value in a running mean: a plain mean at first, later one that forgets."""
        return max(1 / max(updates, 1), 1 - self.ema_decay)

    def predict(self, at: Boundaries, inject: Inject) -> Predictions:
        """Predict at the boundaries of a span, as `Synthesizer.predict` does."""
        assert isinstance(self.synthesizer, Synthesizer), "only a Synthesizer predicts at boundaries"
        return self.synthesizer.predict(at, self.scale, inject)

    def learn(
        self, predicted: Tensor, target: Tensor, rows: Tensor | None = None, after: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Add to the gradients of the synthesizer's parameters, and of nothing else that its inputs may lead to.

        Args:
            predicted, target, rows, after: as `regress`.

        Returns:
            Metrics, as `regress`.
        """
        gradient, metrics = self.regress(predicted, target, rows, after)
        learned = [parameter for parameter in self.synthesizer.parameters() if parameter.requires_grad]
        if predicted.requires_grad and learned:
            torch.autograd.backward(predicted, gradient, inputs=learned)
        return metrics

    @torch.no_grad()
    def regress(
        self, predicted: Tensor, target: Tensor, rows: Tensor | None = None, after: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Update the running means, and differentiate the mean squared difference of predictions and targets.

        The difference is in true units, of which one factor is in those of the scale that the prediction was made in,
        the other of that which takes in the targets: a prediction is compared as it was injected, and none of this
        depends on the order in which the targets become known.

        Args:
            predicted: (R, heads, features) in units of the scale, made before: the first head is trained on `target`, a
                second on `after`.
            target: (R, features) in true units, finite.
            rows: (R,) bool, the rows that count; None for all.
            after: (R, features) predictions at the boundary that follows, in units of the scale.

        Returns:
            the gradient at `predicted`, and the metrics ``target_r2`` and ``target_cosine`` of these predictions with
            their targets, ``shrinkage`` and ``target_rms``.
        """
        missing, moments = self.compare(predicted, target, rows, after)
        metrics, weight = self.observe(moments)
        return weight * missing, metrics

    @torch.no_grad()
    def compare(
        self, predicted: Tensor, target: Tensor, rows: Tensor | None = None, after: Tensor | None = None
    ) -> tuple[Tensor, Moments]:
        """Return what predictions miss of their targets, (R, heads, features) in true units, and moments of the two.

        Args:
            predicted, target, rows, after: as `regress`. Rows that do not count are left out of both.
        """
        own, scale = predicted[:, 0], sqrt(self.mean_square)
        missing = torch.sub(target, own, alpha=scale).unsqueeze(1)
        if predicted.shape[1] == 2:
            assert after is not None, "a second head is trained on the predictions at the boundary that follows"
            missing = torch.cat([missing, scale * (after.unsqueeze(1) - predicted[:, 1:])], dim=1)
        both, count = torch.cat([own, target]), len(target)
        if rows is not None:
            both, count, missing = both * rows.repeat(2).unsqueeze(1), int(rows.sum()), missing * rows[:, None, None]
        both = both.view(2, -1)
        with without_autocast(both.device):
            (square, dot), (_, power) = torch.mm(both, both.t()).tolist()
        return missing, Moments(scale * dot, scale**2 * square, power, count, target.shape[1])

    def metrics(self) -> dict[str, Tensor]:
        """Return running metrics of the quality of the predictions: ``target_r2`` and ``shrinkage``."""
        r2 = self.shrinkage.r2()
        return {"target_r2": r2, "shrinkage": self.trust * torch.ones_like(r2)}

    @torch.no_grad()
    def observe(self, moments: Moments) -> tuple[dict[str, Tensor], float]:
        """Update shrinkage and scale by predictions made before training on them.

        Args:
            moments: of all predictions of an update with their targets.

        Returns:
            metrics of these predictions, and the factor by which what they miss of the targets (`compare`) is the
            gradient of the regression.
        """
        dot, square, power, count, processes = moments.dot, moments.square, moments.power, moments.rows, 1.0
        like = self.mean_square
        if self.all_reduce is not None:
            dot, square, power, count, processes = self.all_reduce(
                like.new_tensor([dot, square, power, count, 1])
            ).tolist()
        entries = max(count, 1) * moments.features
        self.shrinkage.update(dot, square, power)
        # Nothing is told of the scale where nothing arrives, or all sequences begin anew.
        if count and power > 0 and isfinite(power):
            updates = float(self.updates) + 1
            self.updates.fill_(updates)
            self.take_in("mean_square", power / entries, self.weight(updates))
        tiny, scale = torch.finfo(like.dtype).tiny, sqrt(self.mean_square)
        values = {
            "target_r2": (2 * dot - square) / max(power, tiny) if power else 0.0,
            "target_cosine": dot / max(sqrt(square * power), tiny),
            "shrinkage": float(self.trust),
            "target_rms": scale,
        }
        metrics = dict(zip(values, like.new_tensor([*values.values()]).unbind(), strict=True))
        return metrics, -2 * processes / (entries * max(scale, 1e-30))
