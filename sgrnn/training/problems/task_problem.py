"""A task as a problem: its episodes, each as one span or cut into several, and its score."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sgrnn.config.build.model import build_readout
from sgrnn.config.build.problem import build_task
from sgrnn.config.recipe import Recipe
from sgrnn.config.tasks import MnistConfig
from sgrnn.contract.modules import evaluating, tensor_of
from sgrnn.data import SPLITS, verify
from sgrnn.errors import InputError
from sgrnn.estimators import Step
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.span import Span
from sgrnn.tasks import CurriculumTask, Readout, SequentialMNIST, Task, loss_per_target, read_idx
from sgrnn.training.distributed import ALONE, Ranks
from sgrnn.training.problems.problem import Problem

_SEEDS = {"valid": 2**32 - 1, "test": 2**32 - 2}  # the same for all runs; torch takes 32 bits of a seed
_SCORED_ROWS = 100  # side by side; the images of valid and test divide by it
_SCORED_EPISODES = 10  # of a task that draws them without end
_VALID_IMAGES = 5_000  # at the end of the published train files


@final
class TaskProblem(Problem):
    """Learn a task, episode after episode, each as one span or cut into several.

    Args:
        recipe: with the section `task`.
        folder: the data folder, for a task that needs files.

    Raises:
        InputError: a file is missing or damaged, or a batch has more rows than there are images.
    """

    kind = "task"

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        section, settings = recipe.task, recipe.training
        assert section is not None, "a recipe for a task"
        self._recipe = recipe
        self._digits = read_digits(folder) if isinstance(section, MnistConfig) else {}
        if self._digits and settings.batch_size > len(self._digits["train"][0]):
            number = len(self._digits["train"][0])
            raise InputError(
                f"training.batch_size must be at most {number:,}, the images there are, got {settings.batch_size}"
            )
        self.start(lookahead=0)
        steps = self.task.steps
        if isinstance(self.task, SequentialMNIST):
            episodes = self.task.episodes_per_epoch
        else:
            assert not isinstance(section, MnistConfig), "of which a SequentialMNIST is made"
            episodes = section.episodes_per_epoch
        self.updates_per_epoch = episodes * -(-steps // (recipe.span or steps))
        self.identity = repr(self.task)
        growing = " to begin with" if isinstance(self.task, CurriculumTask) else ""
        self.name = section.kind
        length = f"{steps} steps" if steps > 1 else "one step"
        self.description = self.sizes = f"{self.name}, episodes of {length}{growing}, {episodes:,} an epoch"

    def build_model(self) -> Readout:
        """Build the task's model; see `Problem.build_model`."""
        return build_readout(self._recipe, self.task)

    def start(self, lookahead: int) -> None:
        """Make the task anew; see `Problem.start`."""
        self.task = self._make("train", self._recipe.training.batch_size)
        self._lookahead = lookahead
        self._before: dict[str, Any] = {}  # the task's state before the episode that is being learned
        self._episode: Span | None = None
        self._spans: list[Span] = []  # of the episode
        self._done = 0  # spans of the episode
        self._loss = 0.0  # of these, summed over steps, a mean over rows

    def draw(self) -> Span:
        """Return the next span of the episode, or the first of the next one; see `Problem.draw`."""
        if self._done == len(self._spans):
            self._begin()
            self._done, self._loss = 0, 0.0
        self._done += 1
        return self._spans[self._done - 1]

    def observe(self, step: Step) -> dict[str, Tensor]:
        """Return `loss_per_target` after an episode, and its `length` if episodes grow; see `Problem.observe`."""
        assert self._episode is not None, "a span was drawn"
        self._loss += float(step.loss) * self._spans[self._done - 1].steps
        if self._done < len(self._spans):
            return {}
        loss = loss_per_target(self._loss / self._episode.steps, self._episode)
        metrics = {"loss_per_target": loss}
        if isinstance(self.task, CurriculumTask):
            metrics["length"] = self.task.length
            self.task.observe(loss)
        return {name: step.loss.new_tensor(value) for name, value in metrics.items()}

    @torch.no_grad()
    def score(self, model: SequenceModel, split: str, ranks: Ranks = ALONE) -> dict[str, float]:
        """Return loss and accuracy per target on episodes that are always the same, at the length that was reached.

        See `Problem.score`. Of images all are counted once; `accuracy` is the share of the steps with a target at
        which the prediction is right, missing where that means nothing.
        """
        if split not in SPLITS:
            raise InputError(f"{self.name} has no split named {split!r}; expected one of {', '.join(SPLITS)}")
        assert isinstance(model, Readout), "as build_model makes it"
        task = self._make(split, _SCORED_ROWS)
        if isinstance(task, CurriculumTask) and isinstance(self.task, CurriculumTask):
            task.vectors, task.repeats = self.task.vectors, self.task.repeats
        episodes = task.episodes_per_epoch if isinstance(task, SequentialMNIST) else _SCORED_EPISODES
        state = model.initial_state(_SCORED_ROWS)
        loss, correct, targets, uncountable = 0.0, 0, 0, 0
        with evaluating(model):
            for number in range(episodes):
                episode = task.draw()
                if number % ranks.world_size != ranks.rank:
                    continue
                episode = episode.to(tensor_of(model).device)
                predictions = model.predict(model(episode.inputs, state)[0])
                loss += float(task.loss(predictions, episode.targets).double().sum())
                targets += int(episode.targets[..., -1].sum())
                right = task.correct(predictions, episode.targets)
                uncountable += right is None
                correct += int(right.sum()) if right is not None else 0
        if ranks.all_reduce is not None:
            sums = torch.tensor([loss, correct, targets, uncountable], dtype=torch.float64)
            loss, correct, targets, uncountable = ranks.all_reduce(sums).tolist()
        metrics = {"loss": loss / targets}
        if not uncountable:
            metrics["accuracy"] = correct / targets
        if isinstance(self.task, CurriculumTask):
            metrics["length"] = self.task.length
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return the task before the present episode, and how far into that training is; see `Problem.state_dict`."""
        if self._done == len(self._spans):
            return {"task": self.task.state_dict(), "spans_done": 0, "loss": 0.0}
        return {"task": self._before, "spans_done": self._done, "loss": self._loss}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the task and the position inside the present episode; see `Problem.load_state_dict`."""
        self.start(self._lookahead)
        self.task.load_state_dict(state["task"])
        if state["spans_done"]:
            self._begin()
            self._done, self._loss = state["spans_done"], state["loss"]

    def _begin(self) -> None:
        self._before = self.task.state_dict()
        self._episode = self.task.draw()
        self._spans = self._episode.divide(self._recipe.span or self._episode.steps, self._lookahead)

    def _make(self, split: str, batch_size: int) -> Task:
        seed = _SEEDS.get(split, self._recipe.training.seed)
        return build_task(self._recipe, batch_size, seed, self._digits.get(split), shuffle=split == "train")


def read_digits(folder: Path) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Read MNIST by split: images (n, 28, 28) and labels (n,), 55,000 for train, 5,000 for valid, 10,000 for test.

    Args:
        folder: the data folder.

    Raises:
        InputError: a file is missing or damaged; the message says how to get it.
    """
    verify("mnist", folder)
    (images, labels), test = (
        (read_idx(folder / "mnist" / f"{name}-images-idx3-ubyte.gz"),
         read_idx(folder / "mnist" / f"{name}-labels-idx1-ubyte.gz"))
        for name in ("train", "t10k")
    )  # fmt: skip
    return {
        "train": (images[:-_VALID_IMAGES], labels[:-_VALID_IMAGES]),
        "valid": (images[-_VALID_IMAGES:], labels[-_VALID_IMAGES:]),
        "test": test,
    }
