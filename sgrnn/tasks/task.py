"""The base of tasks, which draw episodes from a seed."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from sgrnn.errors import at_least
from sgrnn.span import Span


class Task(ABC):
    """Source of endless random episodes of B rows, which all begin and end together.

    Two tasks of the same arguments and the same seed draw the same episodes. The generator is the task's own: nothing
    else that is drawn at random changes them.

    Args:
        input_size: features of an input step.
        output_size: features that the model should give at a step.
        batch_size: B, the number of rows.
        seed: of the episodes.
        settings: all else that the episodes depend on, by name; of two tasks that differ in it neither goes on from
            the other's state.
    """

    def __init__(self, input_size: int, output_size: int, batch_size: int, seed: int, **settings: int | str) -> None:
        at_least("batch_size", batch_size, 1)
        self.input_size, self.output_size, self.batch_size = input_size, output_size, batch_size
        self.episodes = 0  # drawn so far
        self._generator = torch.Generator().manual_seed(seed)
        self._settings = {"batch_size": batch_size, **settings}

    def draw(self) -> Span:
        """Draw the next episode.

        Returns:
            A span of S steps with inputs (S, B, input_size) and targets (S, B, output_size + 1), float32, the last
            channel of the targets 1 where there is one. All rows begin with its first step and end with its last.
        """
        inputs, targets = self._draw()
        self.episodes += 1
        is_first = torch.zeros(inputs.shape[:2], dtype=torch.bool)
        is_first[0] = True
        return Span(inputs, targets, is_first, is_last=torch.ones(self.batch_size, dtype=torch.bool))

    @property
    @abstractmethod
    def steps(self) -> int:
        """S, the steps of the next episode."""

    @abstractmethod
    def _draw(self) -> tuple[Tensor, Tensor]:
        """Draw inputs and targets of an episode, as `draw` describes them."""

    @staticmethod
    @abstractmethod
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        """Return a loss per step and row, zero where there is no target, as the estimators want it.

        Args:
            outputs: (time, batch, output_size).
            targets: (time, batch, output_size + 1).

        Returns:
            (time, batch).
        """

    @staticmethod
    def correct(outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Return (time, batch) bool, True where the outputs are right and False where there is no target.

        Args:
            outputs: (time, batch, output_size).
            targets: (time, batch, output_size + 1).

        Returns:
            None for a task whose outputs are numbers, which are never quite right.
        """
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return the state from which the same episodes would follow: tensors, numbers and strings."""
        return {"task": repr(self), "episodes": self.episodes, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of a task of the same arguments, so that the same episodes follow; seeds may differ.

        Raises:
            ValueError: the state is that of another task.
        """
        if state["task"] != repr(self):
            raise ValueError(f"state must be that of {self!r}, got that of {state['task']}")
        self.episodes = state["episodes"]
        self._generator.set_state(state["generator"].cpu())

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self._settings.items())
        return f"{type(self).__name__}({settings})"
