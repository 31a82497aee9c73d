"""Training of many recipes, several at a time, each in a run folder of its own that can be resumed."""

import signal
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import torch

from sgrnn.config.recipe import Recipe
from sgrnn.data import data_folder
from sgrnn.errors import InputError
from sgrnn.training.lock import locked
from sgrnn.training.loop import train
from sgrnn.training.memory import keep_freed_memory
from sgrnn.training.problems.opening import new_problem, problem_of
from sgrnn.training.problems.problem import Problem
from sgrnn.training.run import Run
from sgrnn.training.running_metrics import Diverged

Record = dict[str, Any]


def train_all(
    recipes: Mapping[str, Recipe], out: Path, jobs: int = 1, threads: int = 1
) -> Iterator[tuple[str, list[Record]]]:
    """Train or resume each recipe in a folder of its name under `out`, and yield the records of its run.

    Results come in the order of the recipes. A run that diverged yields no rows: that is a result too. Stopped, the
    runs go on where their last checkpoints are when called again.

    Args:
        recipes: by the names of their folders.
        out: the folder of all of them.
        jobs: how many processes train at a time.
        threads: of each process.

    Raises:
        InputError: a folder holds a run of another recipe.
    """
    for name, recipe in recipes.items():
        if (out / name / "recipe.yaml").exists() and Run.open(out / name).recipe != recipe:
            raise InputError(f"{out / name} holds a run of another recipe: name another folder with --out")
    with processes(jobs, threads) as pool:
        running = [pool.submit(_train, recipe, out / name) for name, recipe in recipes.items()]
        for name, future in zip(recipes, running, strict=True):
            yield name, future.result()


@contextmanager
def processes(jobs: int, threads: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of processes to train in, which end when this process is stopped by Ctrl-C or SIGTERM."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    context = get_context("spawn")
    try:
        with ProcessPoolExecutor(jobs, context, initializer=prepare_process, initargs=(threads,)) as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in active_children():
                    process.terminate()
                raise
    finally:
        signal.signal(signal.SIGTERM, before)


def prepare_process(threads: int) -> None:
    """Set a process up to train: once, before the first run."""
    torch.set_num_threads(threads)
    keep_freed_memory()


def open_or_create(recipe: Recipe, folder: Path, data: Path) -> tuple[Run, Problem]:
    """Open the run of a folder, or create one by the recipe where there is none, and return it with its problem.

    Raises:
        InputError: run, text or task are at fault.
    """
    if (folder / "recipe.yaml").exists():
        run = Run.open(folder)
        return run, problem_of(run, data)
    problem, tokenizer = new_problem(recipe, data)
    return Run.create(folder, recipe, tokenizer), problem


def _train(recipe: Recipe, folder: Path) -> list[Record]:
    run, problem = open_or_create(recipe, folder, data_folder())
    try:
        with locked(run.folder):
            train(run, problem, report=lambda record: None)
    except Diverged:
        return []
    return list(run.records())
