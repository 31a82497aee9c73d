"""Training runs by the dozen: every one an ordinary run folder, several at a time, resumable."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context
from pathlib import Path

import torch
from records import Record

from sgrnn.data import data_folder, prepare
from sgrnn.errors import InputError
from sgrnn.training.interval import Diverged
from sgrnn.training.loop import train
from sgrnn.training.memory import keep_freed_memory
from sgrnn.training.recipe import Recipe
from sgrnn.training.run import Run
from sgrnn.training.text import make_tokenizer, read_corpus


def train_all(
    recipes: Mapping[str, Recipe], out: Path, jobs: int = 1, threads: int = 1
) -> Iterator[tuple[str, list[Record]]]:
    """Train each recipe in a folder of its name under `out`, or what is left of it, and yield what its run recorded.

    Results come in the order of the recipes. A run that diverged yields no rows: that is a result too. Stopped, the
    runs go on where their last checkpoints are when called again.

    Raises:
        InputError: a folder holds a run of another recipe.
    """
    for name, recipe in recipes.items():
        if (out / name / "recipe.yaml").exists() and Run.open(out / name).recipe != recipe:
            raise InputError(f"{out / name} holds a run of another recipe: name another folder with --out")
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=prepare_process, initargs=(threads,)) as pool:
        running = [pool.submit(_train, recipe, out / name) for name, recipe in recipes.items()]
        try:
            for name, future in zip(recipes, running, strict=True):
                yield name, future.result()
        except BaseException:  # above all Ctrl-C: leave no process behind that trains on
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()
            raise


def prepare_process(threads: int) -> None:
    """Once in every process that trains."""
    torch.set_num_threads(threads)
    keep_freed_memory()


def _train(recipe: Recipe, folder: Path) -> list[Record]:
    corpus = read_corpus(recipe, data_folder())
    begun = (folder / "recipe.yaml").exists()
    run = Run.open(folder) if begun else Run.create(folder, recipe, make_tokenizer(recipe, corpus))
    try:
        train(run, prepare(corpus, run.tokenizer, data_folder()), report=lambda record: None)
    except Diverged:
        return []
    return list(run.records())
