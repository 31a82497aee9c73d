"""The section `data`: a text, and how it becomes tokens."""

from pathlib import Path
from typing import Literal, Self

from pydantic import PositiveInt
from pydantic import model_validator as check

from sgrnn.config.section import Fraction, Section
from sgrnn.data.kinds import TokenizerKind, require_fitting_options


class TokenizerConfig(Section):
    """Rule by which text becomes tokens. The vocabulary comes from the train split alone."""

    kind: TokenizerKind = "word"
    """Tokens are words between blanks, characters, or pieces of words that sentencepiece learns."""
    vocabulary_size: PositiveInt | None = None
    """Number of pieces (bpe, unigram), or of the most frequent words kept (word; all if left out)."""
    min_count: PositiveInt = 1
    """Least count of a word or character that is kept (word, character); rarer ones become `<unk>`."""

    @check(mode="after")
    def _options_fit_kind(self) -> Self:
        require_fitting_options(self.kind, vocabulary_size=self.vocabulary_size, min_count=self.min_count)
        return self


class DataConfig(Section):
    """A text, and the files of one's own."""

    corpus: Literal["ptb", "ptb-char", "wikitext-2", "python-docs", "text"]
    """Name of the text (`sgrnn data list`); `text` for files of your own."""
    tokenizer: TokenizerConfig | None = TokenizerConfig()
    """Rule by which it becomes tokens; null for that of the run that `model.start_from` names, the default with it."""
    train: Path | None = None
    """File to train on, relative to the recipe (corpus `text`)."""
    valid: Path | None = None
    """File to validate on (corpus `text`); if left out, the last `valid_fraction` of `train`."""
    test: Path | None = None
    """File to test on (corpus `text`); if left out, the end of `train` (`test_fraction`), none if `valid` is a file."""
    valid_fraction: Fraction = 0.05
    """Share of the characters of `train` to validate on, where `valid` is no file."""
    test_fraction: Fraction = 0.05
    """Share of the characters of `train` to test on, where neither `valid` nor `test` is a file; 0 for none."""
    reset: Literal["none", "line", "document"] = "none"
    """Where the state is reset, in training and in evaluation: nowhere but at the beginning of the text, at every line,
    or at every document."""
    separator: str | None = None
    """Line that stands between documents; null for empty lines, and for the headings of articles in WikiText."""

    @check(mode="after")
    def _files_fit_corpus(self) -> Self:
        if self.corpus == "text" and self.train is None:
            raise ValueError("train is missing: the file to train on, for corpus text")
        if self.corpus != "text" and (given := [name for name in ("train", "valid", "test") if getattr(self, name)]):
            raise ValueError("\n".join(f"{name} is for corpus text, not {self.corpus}: remove it" for name in given))
        if self.reset == "document" and self.corpus in ("ptb", "ptb-char"):
            raise ValueError(f"reset must be line or none for {self.corpus}, which marks no documents, got document")
        if self.separator is not None and self.reset != "document":
            raise ValueError(f"separator is for reset document, not {self.reset}: remove it")
        if self.separator is not None and (not self.separator.strip() or "\n" in self.separator):
            raise ValueError(f"separator must be one line with something in it, got {self.separator!r}")
        return self
