"""What the run of a recipe learns, opened from the data folder."""

from pathlib import Path

from sgrnn.data import Tokenizer
from sgrnn.training.episodes import Episodes
from sgrnn.training.problem import Problem
from sgrnn.training.reading import Reading
from sgrnn.training.recipe import Recipe
from sgrnn.training.run import Run
from sgrnn.training.text import encode_corpus, make_tokenizer, read_corpus


def new_problem(recipe: Recipe, folder: Path) -> tuple[Problem, Tokenizer | None]:
    """What a new run is to learn, and for a text the tokenizer that is made for it.

    Args:
        recipe: the recipe.
        folder: the data folder.

    Raises:
        InputError: a file is missing or unfit, or the recipe asks for what cannot be had of it.
    """
    if recipe.task is not None:
        return Episodes(recipe, folder), None
    corpus = read_corpus(recipe, folder)
    tokenizer = make_tokenizer(recipe, corpus)
    tokenizer.encode_prompt(recipe.sample.prompt)
    return Reading(recipe, encode_corpus(corpus, tokenizer, folder)), tokenizer


def problem_of(run: Run, folder: Path) -> Problem:
    """What a run learns, its text encoded with the tokenizer that it began with.

    Args:
        run: the run.
        folder: the data folder.

    Raises:
        InputError: a file is missing or unfit.
    """
    if run.tokenizer is None:
        return Episodes(run.recipe, folder)
    return Reading(run.recipe, encode_corpus(read_corpus(run.recipe, folder), run.tokenizer, folder))
