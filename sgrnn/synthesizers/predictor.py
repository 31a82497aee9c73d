"""Scale, shrinkage and training of a synthesizer's predictions, at boundaries and at interfaces between modules."""

from typing import final

import torch
from torch import Tensor, nn

from sgrnn.all_reduce import AllReduce
from sgrnn.synthesizers.running_means import RunningMeans
from sgrnn.synthesizers.synthesizer import Boundaries, Inject, Predictions, Synthesizer


@final
class Shrinkage(RunningMeans):
    """Factor in [0, 1] with which predictions are closest to their targets in the mean square.

    alpha = clip(E<prediction, target> / E|prediction|^2, 0, 1), from running means over past updates, of
    predictions made before they were trained on. Predictions of an untrained predictor are so shrunk to nothing.

    Args:
        ema_decay: decay of the running means, per update.
    """

    dot: Tensor
    square: Tensor
    power: Tensor

    def __init__(self, ema_decay: float = 0.99) -> None:
        super().__init__()
        self.ema_decay = ema_decay
        for name in ("dot", "square", "power"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self) -> Tensor:
        """Return alpha, a scalar in [0, 1]."""
        return (self.dot / self.square.clamp(min=1e-30)).clamp(0, 1)

    def r2(self) -> Tensor:
        """Return the R² of predictions with their targets, 1 - |prediction - target|² / |target|², from the means."""
        return (2 * self.dot - self.square) / self.power.clamp(min=1e-30)

    def update(self, dot: Tensor, square: Tensor, power: Tensor) -> None:
        """Update the running means of <prediction, target>, |prediction|² and |target|², each summed over rows.

        Nothing is updated where one of them is not finite.
        """
        finite = (dot + square + power).isfinite()
        for name, value in (("dot", dot), ("square", square), ("power", power)):
            self.take_in(name, value, 1 - self.ema_decay, finite)


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

    Raises:
        ValueError: `ema_decay` is out of range.
    """

    mean_square: Tensor
    updates: Tensor

    def __init__(
        self,
        synthesizer: nn.Module,
        *,
        shrinkage: bool = True,
        ema_decay: float = 0.99,
        all_reduce: AllReduce | None = None,
    ) -> None:
        super().__init__()
        if not 0 < ema_decay < 1:
            raise ValueError(f"ema_decay must be in (0, 1), got {ema_decay}")
        self.synthesizer, self.shrinkage, self.shrinks = synthesizer, Shrinkage(ema_decay), shrinkage
        self.ema_decay, self.all_reduce = ema_decay, all_reduce
        self.register_buffer("mean_square", torch.ones(()))
        self.register_buffer("updates", torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        """Running root mean square of the targets' entries, a scalar."""
        return self.mean_square.sqrt()

    @property
    def trust(self) -> Tensor | float:
        """Shrinkage that predictions are multiplied by, in [0, 1]; 1 where they are not shrunk."""
        return self.shrinkage() if self.shrinks else 1.0

    def readable(self, tensor: Tensor) -> Tensor:
        """Convert a floating-point tensor to the precision of the synthesizer's parameters, if it has any."""
        if not tensor.is_floating_point():
            return tensor
        own = next((p.dtype for p in self.synthesizer.parameters() if p.is_floating_point()), tensor.dtype)
        return tensor.to(own)

    def weight(self, updates: Tensor) -> Tensor:
        """Return the weight of the newest value in a running mean: a plain mean at first, later one that forgets."""
        return (1 / updates.clamp(min=1)).clamp(min=1 - self.ema_decay)

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
        metrics, count = self._observe(self.scale * predicted[:, 0], target, rows)
        wanted = (target / self.scale.clamp(min=1e-30)).unsqueeze(1)
        if predicted.shape[1] == 2:
            assert after is not None, "a second head is trained on the predictions at the boundary that follows"
            wanted = torch.cat([wanted, after.unsqueeze(1)], dim=1)
        weight = predicted.new_ones(()) / count / predicted.shape[2]
        if rows is not None:
            weight = (weight * rows)[:, None, None]
        return weight * (2 * (predicted - wanted)), metrics

    def metrics(self) -> dict[str, Tensor]:
        """Return running metrics of the quality of the predictions: ``target_r2`` and ``shrinkage``."""
        r2 = self.shrinkage.r2()
        return {"target_r2": r2, "shrinkage": self.trust * torch.ones_like(r2)}

    def _observe(
        self, predicted: Tensor, target: Tensor, rows: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor | float]:
        """Update shrinkage and scale by predictions made before training on them, and return metrics of these.

        Returns:
            metrics, and how many rows count; where processes share a batch, in the mean over these.
        """
        counted: Tensor | None = None
        if rows is not None:
            inside = rows.unsqueeze(1)
            predicted, target = predicted * inside, target * inside
            counted = inside.sum()
        flat_predicted, flat_target = predicted.flatten(), target.flatten()
        dot, square, power = (
            flat_predicted.dot(flat_target), flat_predicted.dot(flat_predicted), flat_target.dot(flat_target)
        )  # fmt: skip
        processes: Tensor | int = 1
        if self.all_reduce is not None:
            own = torch.full_like(dot, len(target)) if counted is None else counted.to(dot)
            sums = self.all_reduce(torch.stack([dot, square, power, own, torch.ones_like(dot)]))
            dot, square, power, counted, processes = sums.unbind()
        seen: Tensor | bool = True
        count: Tensor | int = len(target)
        if counted is not None:  # a span that begins all its sequences anew may tell nothing of the scale
            seen, count = counted > 0, counted.clamp(min=1)
        seen = seen & power.isfinite()
        self.shrinkage.update(dot, square, power)
        self.updates += seen
        self.take_in("mean_square", power / (count * target.shape[1]), self.weight(self.updates) * seen)
        metrics = {**_quality(dot, square, power), "shrinkage": self.trust * torch.ones_like(dot)}
        return {**metrics, "target_rms": self.scale}, count / processes


def _quality(dot: Tensor, square: Tensor, power: Tensor) -> dict[str, Tensor]:
    """Return R² and cosine of predictions p with targets g, from <p, g>, |p|² and |g|²."""
    tiny = torch.finfo(power.dtype).tiny
    return {
        "target_r2": torch.where(power > 0, (2 * dot - square) / power.clamp(min=tiny), 0),
        "target_cosine": dot / (square * power).sqrt().clamp(min=tiny),
    }
