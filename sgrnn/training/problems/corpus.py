"""The text of a run: corpus and tokenizer, as the recipe names them."""

from pathlib import Path

from sgrnn.config.recipe import Recipe
from sgrnn.data import Corpus, TokenFiles, Tokenizer, load_texts, prepare, train_tokenizer
from sgrnn.data.atomic import remedy
from sgrnn.errors import InputError


def read_corpus(recipe: Recipe, folder: Path) -> Corpus:
    """The texts that a recipe names, from the data folder.

    Raises:
        InputError: a file is missing or unfit; the message says how to get it.
    """
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


def make_tokenizer(recipe: Recipe, corpus: Corpus) -> Tokenizer:
    """The tokenizer that a recipe describes, from the train text alone."""
    assert recipe.data is not None, "a recipe for a text"
    section = recipe.data.tokenizer
    return train_tokenizer(
        section.kind,
        corpus.texts["train"],
        vocabulary_size=section.vocabulary_size,
        min_count=section.min_count,
    )


def encode_corpus(corpus: Corpus, tokenizer: Tokenizer, folder: Path) -> TokenFiles:
    """The texts as tokens, kept in the data folder.

    Raises:
        InputError: a text that the tokenizer cannot encode, or files that cannot be written.
    """
    try:
        return prepare(corpus, tokenizer, folder)
    except OSError as error:
        raise InputError(
            f"cannot write the encoded text below {folder / 'tokens'}: {error}; {remedy(error)}, or name another "
            "data folder with --data"
        ) from None
