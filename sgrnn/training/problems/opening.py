"""What the run of a recipe learns, opened from the data folder."""

from pathlib import Path

from sgrnn.config.recipe import Recipe
from sgrnn.data import Tokenizer
from sgrnn.training.problems.corpus import encode_corpus, make_tokenizer, read_corpus
from sgrnn.training.problems.problem import Problem
from sgrnn.training.problems.task_problem import TaskProblem
from sgrnn.training.problems.text_problem import TextProblem
from sgrnn.training.run import Run


def new_problem(recipe: Recipe, folder: Path) -> tuple[Problem, Tokenizer | None]:
    """What a new run is to learn, and for a text the tokenizer that is made for it.

    Args:
        recipe: the recipe.
        folder: the data folder.

    Raises:
        InputError: a file is missing or unfit, or the recipe asks for what cannot be had of it.
    """
    if recipe.task is not None:
        return TaskProblem(recipe, folder), None
    corpus = read_corpus(recipe, folder)
    tokenizer = make_tokenizer(recipe, corpus)
    tokenizer.encode_prompt(recipe.sample.prompt)
    return TextProblem(recipe, encode_corpus(corpus, tokenizer, folder)), tokenizer


def problem_of(run: Run, folder: Path) -> Problem:
    """What a run learns, its text encoded with the tokenizer that it began with.

    Args:
        run: the run.
        folder: the data folder.

    Raises:
        InputError: a file is missing or unfit.
    """
    if run.tokenizer is None:
        return TaskProblem(run.recipe, folder)
    return TextProblem(run.recipe, encode_corpus(read_corpus(run.recipe, folder), run.tokenizer, folder))
