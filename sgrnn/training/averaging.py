"""Means of a model's weights over updates, which are evaluated and kept in the place of the weights themselves."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from sgrnn.config.optimization import AverageConfig, ExponentialAverageConfig, TriggeredAverageConfig
from sgrnn.contract.modules import tensor_of
from sgrnn.models.sequence_model import SequenceModel


@final
class Average:
    """Model in training, and beside it the mean of its weights as a recipe says.

    Gradients and updates are those of the model; the mean is only looked at. It costs as much memory as the model's
    parameters, from when it begins.

    Args:
        section: the recipe's; None for no mean.
        model: in training.
    """

    def __init__(self, section: AverageConfig | None, model: SequenceModel) -> None:
        self._section, self._training = section, model
        self._mean: AveragedModel | None = None
        if isinstance(section, ExponentialAverageConfig):
            self._begin()

    @property
    def model(self) -> SequenceModel:
        """Model to evaluate and to keep: of the mean of the weights, or before that begins the one in training."""
        if self._mean is None:
            return self._training
        assert isinstance(self._mean.module, SequenceModel), "a copy of the one in training"
        return self._mean.module

    def update(self) -> None:
        """Take in the weights after an update."""
        if self._mean is not None:
            self._mean.update_parameters(self._training)

    def observe(self, scores: Sequence[float]) -> None:
        """Begin a triggered mean, with the weights as they are, where the last of the scores gives reason to.

        Args:
            scores: of the evaluation after each epoch, less being better.
        """
        waits = self._section if self._mean is None else None
        if isinstance(waits, TriggeredAverageConfig) and stalls(scores, waits.non_monotone):
            self._begin()
            self.update()

    def metrics(self) -> dict[str, int]:
        """Return `averaged`, how many updates the mean has taken in; nothing before it begins."""
        return {} if self._mean is None else {"averaged": int(self._mean.n_averaged)}

    def state_dict(self) -> dict[str, Any] | None:
        """Return what a checkpoint keeps beside `model`: the weights in training; None before a mean begins."""
        return None if self._mean is None else {**self.metrics(), "training": self._training.state_dict()}

    def load_state_dict(self, saved: Mapping[str, Any] | None) -> None:
        """Restore mean and weights, where the model in training has been given what was kept of `model`."""
        if saved is None:
            return
        self._begin()
        assert self._mean is not None, "it has just begun"
        self._mean.n_averaged.fill_(saved["averaged"])
        load_training(self._training, saved)

    def _begin(self) -> None:
        decay = self._section.decay if isinstance(self._section, ExponentialAverageConfig) else None
        mean = get_swa_multi_avg_fn() if decay is None else get_ema_multi_avg_fn(decay)
        self._mean = AveragedModel(self._training, multi_avg_fn=mean)
        self._mean.module.to(tensor_of(self._training).device)  # where it is; a GPU's layers lie in one piece again


def load_training(model: nn.Module, saved: Mapping[str, Any] | None) -> None:
    """Load the weights in training into a model that was given their mean; `saved` is of `Average.state_dict`."""
    if saved is not None:
        model.load_state_dict(saved["training"])


def stalls(scores: Sequence[float], non_monotone: int) -> bool:
    """Return True where the last score is worse than the best of those more than `non_monotone` evaluations before it.

    It is the trigger of NT-ASGD (Merity, Keskar & Socher 2018, algorithm 1).

    >>> stalls([5.0, 4.0, 4.5, 4.4], non_monotone=2), stalls([5.0, 4.0, 4.5, 4.4, 4.1], non_monotone=2)
    (False, True)
    """
    earlier = scores[: max(len(scores) - 1 - non_monotone, 0)]
    return bool(earlier) and scores[-1] > min(earlier)
