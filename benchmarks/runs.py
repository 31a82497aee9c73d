"""Training runs by the dozen: every one an ordinary run folder, several at a time, resumable; and what they cost."""

import json
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Protocol, TypeVar

from records import Record
from torch import nn

from sgrnn.config.build.gradient import build_estimator
from sgrnn.config.build.optimizer import build_optimizer
from sgrnn.config.recipe import Recipe
from sgrnn.data import data_folder
from sgrnn.data.atomic import atomic_write
from sgrnn.training.problems.opening import new_problem
from sgrnn.training.train_all import prepare_process, processes

Key = TypeVar("Key", bound=Hashable)
COMPARED = {
    "truncated": ["--gradient.kind=truncated"],
    "synthetic": ["--gradient.kind=synthetic"],
    "zero": ["--gradient.kind=synthetic", "--gradient.discount=0"],
    "shuffled": ["--gradient.kind=synthetic", "--gradient.shuffle=true"],
}  # overrides of a recipe: synthetic gradients, what they are compared with, and two controls


class Named(Protocol):
    """A condition of which the result is a file of this name; itself plain values, to be sent to another process."""

    @property
    def name(self) -> str: ...


Condition = TypeVar("Condition", bound=Named)


def run_all(train: Callable[[Any], Record], conditions: Sequence[Named], out: Path, jobs: int) -> Iterator[Record]:
    """The results of all conditions in their order, those already there read from their files under `out`."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [_result(condition, out) for condition in conditions]
    with processes(jobs, threads=1) as pool:
        running = [pool.submit(_run, train, *pair) for pair in zip(conditions, paths, strict=True)]
        for path, future in zip(paths, running, strict=True):
            future.result()
            yield json.loads(path.read_text("utf-8"))


def known(conditions: Sequence[Condition], out: Path) -> list[Condition]:
    """Those of which the results lie under `out`."""
    return [condition for condition in conditions if _result(condition, out).exists()]


def _result(condition: Named, out: Path) -> Path:
    return out / f"{condition.name}.json"


def _run(train: Callable[[Any], Record], condition: Named, path: Path) -> None:
    if path.exists():
        return
    result = train(condition)
    with atomic_write(path) as file:
        file.write((json.dumps(result) + "\n").encode())


def seconds_per_update(recipes: Mapping[Key, Recipe], rounds: int = 12, updates: int = 8) -> dict[Key, float]:
    """Medians over interleaved rounds, all recipes side by side on one thread."""
    prepare_process(1)
    loops = {key: Updates(recipe) for key, recipe in recipes.items()}
    times: dict[Key, list[float]] = {key: [] for key in loops}
    for number in range(rounds + 1):  # the first round warms up
        for key, loop in loops.items():
            began = time.perf_counter()
            for _ in range(updates):
                loop.update()
            if number:
                times[key].append((time.perf_counter() - began) / updates)
    return {key: median(values) for key, values in times.items()}


class Updates:
    """A recipe's training, update by update, without what a run records."""

    def __init__(self, recipe: Recipe) -> None:
        self.problem, _ = new_problem(recipe, data_folder())
        self.clip = recipe.training.clip or math.inf
        self.model = self.problem.build_model()
        self.estimator = build_estimator(recipe, self.model, self.problem.updates_per_epoch)
        optimizers = [
            build_optimizer(recipe.optimizer, self.model),
            build_optimizer(recipe.synthesizer_optimizer, self.estimator),
        ]  # fmt: skip
        self.optimizers = [optimizer for optimizer in optimizers if optimizer is not None]
        self.problem.start(self.estimator.lookahead)
        self.state = self.model.initial_state(recipe.training.batch_size)

    def update(self) -> None:
        step = self.estimator.backward(self.model, self.model.loss, self.problem.draw(), self.state)
        self.state = step.state
        self.problem.observe(step)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
