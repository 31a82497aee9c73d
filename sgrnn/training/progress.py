"""Progress of a run in training: its updates, its evaluations, and the seconds spent on training."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, final


@final
class Clock:
    """Seconds spent on training.

    Args:
        seconds: spent before.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._began = perf_counter() - seconds
        self._stopped: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training so far, without those in which the clock stood still."""
        return (perf_counter() if self._stopped is None else self._stopped) - self._began

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Stop the clock inside this context, since diagnoses, evaluations and saves are no training."""
        self._stopped = perf_counter()
        try:
            yield
        finally:
            self._began += perf_counter() - self._stopped
            self._stopped = None


@final
@dataclass
class Progress:
    """Updates, evaluations and seconds of a run so far, which a checkpoint keeps in progress.json.

    Args:
        update: updates so far.
        scores: selection score of the evaluation after each epoch; a text's is its loss.
        best_update: the update of the best evaluation.
        best_score: the selection score of that evaluation.
        clock: seconds of training.
    """

    update: int = 0
    scores: list[float] = field(default_factory=list)
    best_update: int | None = None
    best_score: float | None = None
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def of(cls, saved: dict[str, Any]) -> "Progress":
        """Return the progress that `state_dict` has saved, perhaps among other things; its clock runs.

        Raises:
            LookupError: something is missing.
        """
        return cls(saved["update"], saved["scores"], saved["best_update"], saved["best_score"], Clock(saved["seconds"]))

    def state_dict(self) -> dict[str, Any]:
        """Return the progress as plain numbers by name, for a checkpoint."""
        return {
            "update": self.update,
            "seconds": self.clock.seconds,
            "scores": self.scores,
            "best_update": self.best_update,
            "best_score": self.best_score,
        }

    def every(self, updates: int | None) -> bool:
        """Return True after every `updates` updates, never for None."""
        return updates is not None and self.update % updates == 0

    def add_score(self, score: float, ends_epoch: bool) -> bool:
        """Record an evaluation, and return True where it is the best so far."""
        if ends_epoch:
            self.scores.append(score)
        if self.best_score is not None and score >= self.best_score:
            return False
        self.best_update, self.best_score = self.update, score
        return True

    def out_of_patience(self, patience: int | None) -> bool:
        """Return True where `patience` epochs have ended since the best one; never for None."""
        if patience is None or not self.scores:
            return False
        return len(self.scores) - self.scores.index(min(self.scores)) > patience
