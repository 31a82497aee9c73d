"""Opening the problem of a recipe or a run: its files read from the data folder, a text encoded by its tokenizer."""

from pathlib import Path

from sgrnn.config.recipe import Recipe
from sgrnn.data import Corpus, Spelling, TokenFiles, Tokenizer, load_texts, prepare, train_tokenizer
from sgrnn.data.atomic import remedy
from sgrnn.data.beginnings import with_beginnings
from sgrnn.errors import InputError, quoted
from sgrnn.training.problems.problem import Problem
from sgrnn.training.problems.task_problem import TaskProblem
from sgrnn.training.problems.text_problem import TextProblem
from sgrnn.training.run import Run
from sgrnn.training.start import Start


def new_problem(recipe: Recipe, folder: Path) -> tuple[Problem, Tokenizer | None]:
    """Return the problem of a new run, and for a text the tokenizer that is trained on it.

    Args:
        recipe: the recipe.
        folder: the data folder.

    Raises:
        InputError: a file is missing or unfit, or the recipe asks for what cannot be had of it.
    """
    if recipe.data is None:
        return TaskProblem(recipe, folder), None
    start = None if recipe.model.start_from is None else Start.open(recipe)
    corpus, section = _read_corpus(recipe, folder), recipe.data.tokenizer
    if section is None:
        assert start is not None, "checked by the recipe"
        tokenizer = start.tokenizer
        try:
            tokenizer.encode_prompt(recipe.sample.prompt)
            problem = _text_problem(recipe, corpus, tokenizer, folder)
        except InputError as error:
            raise InputError(
                f"{error}; or give data.tokenizer, for tokens of this text: the weights of those that "
                f"{start.run.folder} has, too, are taken over"
            ) from None
        # Of this run's text, by which its splits are charged, and not of the one that the tokens are from.
        tokenizer.spelling = Spelling.of(tokenizer, corpus.texts["train"], corpus.word_separator)
        return problem, tokenizer
    tokenizer = train_tokenizer(
        section.kind,
        corpus.texts["train"],
        vocabulary_size=section.vocabulary_size,
        min_count=section.min_count,
        word_separator=corpus.word_separator,
    )
    if start is not None:
        start.require_same_tokens(tokenizer)
    tokenizer.encode_prompt(recipe.sample.prompt)
    return _text_problem(recipe, corpus, tokenizer, folder), tokenizer


def problem_of(run: Run, folder: Path) -> Problem:
    """Return the problem of a run, a text encoded with the tokenizer that the run began with.

    Args:
        run: the run.
        folder: the data folder.

    Raises:
        InputError: a file is missing or unfit.
    """
    if run.tokenizer is None:
        return TaskProblem(run.recipe, folder)
    try:
        corpus = _read_corpus(run.recipe, folder)
    except InputError as error:
        section = run.recipe.data
        own = {name: getattr(section, name) for name in ("train", "valid", "test")}
        moved = [f"--data.{name}=PATH" for name, path in own.items() if path is not None and not path.exists()]
        elsewhere = (
            f"; where it lies elsewhere now: `sgrnn resume {quoted(run.folder)} {' '.join(moved)}`" if moved else ""
        )
        raise InputError(f"{run.folder} needs its text: {error}{elsewhere}") from None
    return _text_problem(run.recipe, corpus, run.tokenizer, folder)


def _read_corpus(recipe: Recipe, folder: Path) -> Corpus:
    section = recipe.data
    assert section is not None, "a recipe for a text"
    return load_texts(
        section.corpus,
        folder,
        train=section.train,
        valid=section.valid,
        test=section.test,
        valid_fraction=section.valid_fraction,
        test_fraction=section.test_fraction,
    )


def _text_problem(recipe: Recipe, corpus: Corpus, tokenizer: Tokenizer, folder: Path) -> TextProblem:
    files, section = _encode(corpus, tokenizer, folder), recipe.data
    assert section is not None, "a recipe for a text"
    if section.reset != "none":
        files = with_beginnings(files, corpus, section.reset, section.separator)
    return TextProblem(recipe, files)


def _encode(corpus: Corpus, tokenizer: Tokenizer, folder: Path) -> TokenFiles:
    try:
        return prepare(corpus, tokenizer, folder)
    except OSError as error:
        raise InputError(
            f"cannot write the encoded text below {folder / 'tokens'}: {error}; {remedy(error)}, or name another "
            "data folder with --data"
        ) from None
