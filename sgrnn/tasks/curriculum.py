"""Tasks that grow harder as they are mastered."""

from abc import abstractmethod
from typing import Any

from sgrnn.errors import at_least
from sgrnn.tasks.task import Task


class CurriculumTask(Task):
    """Task whose difficulty, N vectors to be given R times, is raised whenever the loss falls under a threshold.

    Args:
        input_size, output_size, batch_size, seed, settings: as `Task`.
        vectors: N to begin with; the attribute is that of the next episode, as it is with `repeats`.
        repeats: R to begin with.
        threshold: loss, in bits per output bit, under which an episode counts as mastered.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        batch_size: int,
        seed: int,
        *,
        vectors: int,
        repeats: int,
        threshold: float,
        **settings: int | str,
    ) -> None:
        super().__init__(input_size, output_size, batch_size, seed, **settings)
        if threshold <= 0:
            raise ValueError(f"threshold must be above 0 bits, got {threshold}")
        self.vectors, self.repeats = at_least("vectors", vectors, 1), at_least("repeats", repeats, 1)
        self.threshold = threshold

    @property
    @abstractmethod
    def length(self) -> int:
        """Length by which results on the task are reported, at the present difficulty."""

    @abstractmethod
    def advance(self) -> None:
        """Raise the difficulty by one step."""

    def observe(self, loss_in_bits: float) -> bool:
        """Raise the difficulty by one step if the loss is under the threshold.

        Args:
            loss_in_bits: of the latest episode, per output bit of the steps with a target, over all rows, as
                `loss_per_target` gives it.

        Returns:
            True where the difficulty was raised.
        """
        if not loss_in_bits < self.threshold:
            return False
        self.advance()
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the state of `Task.state_dict`, with the difficulty."""
        return {**super().state_dict(), "vectors": self.vectors, "repeats": self.repeats}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of a task of the same arguments, difficulty included; the threshold is not part of it."""
        super().load_state_dict(state)
        self.vectors, self.repeats = state["vectors"], state["repeats"]
