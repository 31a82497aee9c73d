"""The section `data`: a text, and how it becomes tokens."""

from pathlib import Path
from typing import Literal, Self

from pydantic import PositiveInt
from pydantic import model_validator as check

from sgrnn.config.section import Fraction, Section


class Tokenizer(Section):
    """How text becomes tokens. The vocabulary comes from the train split alone."""

    kind: Literal["word", "character", "bpe", "unigram"] = "word"
    vocabulary_size: PositiveInt | None = None
    """bpe, unigram: pieces; word: the most frequent words kept, all if left out."""
    min_count: PositiveInt = 1
    """word, character: what is rarer becomes `<unk>`."""

    @check(mode="after")
    def _options_fit_kind(self) -> Self:
        subwords = self.kind in ("bpe", "unigram")
        if subwords and self.vocabulary_size is None:
            raise ValueError(f"{self.kind} needs vocabulary_size, the number of pieces: try 8000")
        if subwords and self.min_count != 1:
            raise ValueError(f"min_count is for word and character, not {self.kind}: remove it")
        if self.kind == "character" and self.vocabulary_size is not None:
            raise ValueError("vocabulary_size is not for character: drop rare characters with min_count instead")
        return self


class Data(Section):
    """What is read."""

    corpus: Literal["ptb", "ptb-char", "wikitext-2", "python-docs", "text"]
    tokenizer: Tokenizer = Tokenizer()
    train: Path | None = None
    """corpus `text`: the file to train on, relative to the recipe."""
    valid: Path | None = None
    """corpus `text`: left out, the last `valid_fraction` of `train`."""
    test: Path | None = None
    valid_fraction: Fraction = 0.05
    test_fraction: Fraction = 0.05

    @check(mode="after")
    def _files_fit_corpus(self) -> Self:
        if self.corpus == "text" and self.train is None:
            raise ValueError("corpus text needs train: the file to train on")
        if self.corpus != "text" and any((self.train, self.valid, self.test)):
            raise ValueError(f"train, valid and test are for corpus text, not {self.corpus}: remove them")
        return self
