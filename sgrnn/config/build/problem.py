"""Building of the data that a recipe describes: episodes of a task, or spans of a text."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sgrnn import tasks
from sgrnn.config.recipe import Recipe
from sgrnn.data import TokenFiles, TokenStream, VaryingSpans
from sgrnn.errors import InputError

_TASKS: dict[str, type[tasks.Task]] = {
    "copy": tasks.Copy,
    "repeat-copy": tasks.RepeatCopy,
    "adding": tasks.Adding,
    "recall": tasks.DelayedRecall,
    "mnist": tasks.SequentialMNIST,
}
_LONG_TOKENS = 50  # characters: no language has words of such a length

Digits = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # images (n, 28, 28) and labels (n,)


def build_task(
    recipe: Recipe, batch_size: int, seed: int, digits: Digits | None = None, *, shuffle: bool = True
) -> tasks.Task:
    """Return the task that a recipe describes.

    Args:
        recipe: with the section `task`.
        batch_size: rows of an episode.
        seed: of the episodes.
        digits: for the task `mnist`, which has no others.
        shuffle: whether these come in an order of their own every epoch.
    """
    assert recipe.task is not None, "a recipe for a task"
    options: dict[str, Any] = recipe.task.options("episodes_per_epoch")
    if digits is not None:
        images, labels = digits
        options |= {"images": images, "labels": labels, "shuffle": shuffle}
    return _TASKS[recipe.task.kind](batch_size=batch_size, seed=seed, **options)


def build_stream(recipe: Recipe, files: TokenFiles) -> TokenStream:
    """Return the spans of the train text that a recipe describes.

    Raises:
        InputError: the text is too short for one span per row.
    """
    assert recipe.data is not None, "a recipe for a text"
    assert recipe.span is not None, "of a text"
    file, section = files["train"], recipe.training.varying_span
    varying = None
    if section is not None:
        varying = VaryingSpans(recipe.span, seed=recipe.training.seed, **section.options())
    try:
        return TokenStream(
            file.array,
            files.eos_id,
            recipe.training.batch_size,
            recipe.span,
            begins=file.begins,
            varying=varying,
            source=f"{recipe.data.corpus} train",
        )
    except InputError as error:
        if file.counts.characters < _LONG_TOKENS * file.tokens:
            raise
        raise InputError(
            f"{error}; its tokens are {file.counts.characters // file.tokens:,} characters long on average: for a text "
            "without blanks set data.tokenizer.kind to character or bpe"
        ) from None
