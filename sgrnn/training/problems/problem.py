"""A problem as the training loop sees it: a text or a task to learn."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from sgrnn.estimators import Step
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.span import Span
from sgrnn.training.distributed import ALONE, Ranks


class Problem(ABC):
    """Spans to learn from, a model that reads them, and scores by which the model is selected and reported.

    Attributes:
        kind: what its identity is called in a checkpoint and in messages.
        identity: what a run cannot go on without: the text, or the task.
        name: what a person calls it.
        description: the same in a few words more.
        sizes: the same with all that a report says of its size.
        updates_per_epoch: spans between two evaluations.
        texts: digests of the texts that it is scored on, by split; none for a task.
    """

    kind: ClassVar[str]
    identity: str
    name: str
    description: str
    sizes: str
    updates_per_epoch: int
    texts: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def build_model(self) -> SequenceModel:
        """Build the model that the recipe describes, its parameters drawn anew."""

    @abstractmethod
    def start(self, lookahead: int) -> None:
        """Begin with the first span; each span is to carry up to this many of the steps that follow it."""

    @abstractmethod
    def draw(self) -> Span:
        """Return the next span."""

    def observe(self, step: Step) -> dict[str, Tensor]:
        """Receive the result of learning from the span that was drawn last.

        Returns:
            Metrics beside those of the step, as scalars on its device.
        """
        return {}

    @abstractmethod
    def score(self, model: SequenceModel, split: str, ranks: Ranks = ALONE) -> dict[str, float]:
        """Evaluate a model, which is left in the mode it was in.

        Args:
            model: the model.
            split: train, valid or test.
            ranks: the processes that share the work; all of them get the same metrics.

        Returns:
            Metrics by name; `loss`, and whatever else `selection_score` asks for, is among them.

        Raises:
            InputError: there is no such split.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return all that it takes to draw the same spans from here on: tensors, numbers, texts, and nests of them."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of a problem of the same identity, after `start`.

        Args:
            state: with what `state_dict` gave, perhaps among other things.
        """


def selection_score(metrics: Mapping[str, float], prefix: str = "") -> float:
    """Return the number that a model is selected by, less being better: its loss, or first of all the length.

    A loss at a greater length counts for more than any at a smaller one, lengths being whole numbers.

    Args:
        metrics: what `Problem.score` gives.
        prefix: of their names.

    >>> selection_score({"loss": 5.0})
    5.0
    >>> selection_score({"loss": 3.0, "length": 7}), selection_score({"loss": 1.0, "length": 6})
    (-6.25, -5.5)
    """
    loss = metrics[f"{prefix}loss"]
    length = metrics.get(f"{prefix}length")
    return loss if length is None else loss / (1 + loss) - length
