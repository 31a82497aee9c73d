"""A recipe that uses every part that has a state, on a text so small that an epoch takes nine updates."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sgrnn.data import TokenFiles
from sgrnn.training import loop
from sgrnn.training.checkpoints import latest_checkpoint
from sgrnn.training.problems.problem import Problem
from sgrnn.training.problems.task_problem import TaskProblem
from sgrnn.training.problems.text_problem import TextProblem
from sgrnn.training.run import Run

RECIPE = """
data: {corpus: text, train: train.txt, valid: valid.txt, test: test.txt, tokenizer: {kind: character}}
model: {core: lstm, hidden_size: 12, embedding_size: 6, dropout: 0.2}
gradient: {kind: synthetic, window: 3, ahead: model,
  synthesizer: {kind: error, lookahead: 2, hidden_size: 8, rank: 4, projection: 3, near: 2}}
optimizer: {kind: adam, learning_rate: 1e-2}
schedule: {kind: plateau, factor: 0.5}
training: {epochs: 100, max_updates: 10, batch_size: 4, span: 6, log_every: 3, device: cpu}
"""
REGULARIZED = (
    "--model.num_layers=2", "--model.tied=true", "--model.locked_dropout=true", "--model.embedding_dropout=0.4",
    "--model.output_dropout=0.3", "--model.word_dropout=0.2", "--model.weight_dropout=0.5",
    "--model.activation_regularization=2", "--model.temporal_activation_regularization=1",
)  # fmt: skip
"""Overrides for an AWD-LSTM: every part of its regularization, the last layer as wide as the tied embedding."""
WALL_CLOCK = ("seconds", "updates_per_second")


@dataclass(frozen=True)
class AnyTraining(ABC):
    """A run that was created, not yet trained."""

    run: Run

    @property
    @abstractmethod
    def problem(self) -> Problem:
        """What it learns, from the beginning."""

    def __call__(self, stop_after: int | None = None) -> list[dict[str, Any]]:
        """Train on, to the end or until so many updates were made in all; what was reported."""
        reported: list[dict[str, Any]] = []
        made = self.latest or 0

        def stop() -> bool:
            nonlocal made
            made += 1
            return made == stop_after

        try:
            loop.train(self.run, self.problem, reported.append, stop)
        except loop.Interrupted:
            assert made == stop_after
        return reported

    @property
    def latest(self) -> int | None:
        """The update of the latest checkpoint."""
        checkpoint = latest_checkpoint(self.run.checkpoints)
        return None if checkpoint is None else checkpoint.progress["update"]

    @property
    def saved(self) -> dict[str, Any]:
        """All that the latest checkpoint holds, without what a clock says."""
        checkpoint = latest_checkpoint(self.run.checkpoints)
        assert checkpoint is not None
        progress = {
            name: checkpoint.progress[name]
            for name in ("update", "scores", "best_update", "best_score", self.problem.kind)
        }
        model = (checkpoint.folder / "model.safetensors").read_bytes()
        return {"model": model, "state": checkpoint.load_state(torch.device("cpu")), "progress": progress}

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """metrics.jsonl without what a clock says."""
        return [
            {name: value for name, value in record.items() if name not in WALL_CLOCK} for record in self.run.records()
        ]


@dataclass(frozen=True)
class Training(AnyTraining):
    """A run on a text."""

    files: TokenFiles

    @property
    def problem(self) -> TextProblem:
        """See `AnyTraining`."""
        return TextProblem(self.run.recipe, self.files)


@dataclass(frozen=True)
class Practice(AnyTraining):
    """A run on a task.

    Args:
        data: the data folder.
    """

    data: Path

    @property
    def problem(self) -> TaskProblem:
        """See `AnyTraining`."""
        return TaskProblem(self.run.recipe, self.data)


def same(one: Any, other: Any) -> bool:
    """Whether two nests of dicts, lists, tensors and plain values are equal bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other
