"""The text of a run: corpus and tokenizer, as the recipe names them."""

from pathlib import Path

from sgrnn.data import Corpus, Tokenizer, load_texts, train_tokenizer
from sgrnn.training.recipe import Recipe


def read_corpus(recipe: Recipe, folder: Path) -> Corpus:
    """The texts that a recipe names, from the data folder.

    Raises:
        InputError: a file is missing or unfit; the message says how to get it.
    """
    section = recipe.data
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
    section = recipe.data.tokenizer
    return train_tokenizer(
        section.kind,
        corpus.texts["train"],
        vocabulary_size=section.vocabulary_size,
        min_count=section.min_count,
    )
