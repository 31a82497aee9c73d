"""Corpora: a name becomes a text for each split.

| name | text |
|---|---|
| `ptb` | Penn Treebank; blanks at either end of a line belong to the format of the files and are dropped |
| `ptb-char` | the same with `_` between words: 5,017,482 / 393,042 / 442,423 characters, 50 symbols |
| `wikitext-2` | WikiText-2, as published |
| `python-docs` | the language reference that comes with Python |
| `text` | your own files |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sgrnn.data.atomic import bytes_digest
from sgrnn.data.catalog import catalog_entry
from sgrnn.data.store import verify
from sgrnn.data.text_files import read_text, split_text
from sgrnn.errors import InputError

CORPORA = ("ptb", "ptb-char", "wikitext-2", "python-docs", "text")
"""The names `load_texts` knows."""

SPLITS = ("train", "valid", "test")
"""The parts of a corpus, in the order of the catalog's files."""

# Of every 400 lines of python-docs the first 360 go to train, the next 20 to valid and the last 20 to test: long enough
# pieces for a context to build up, taken from all over the text, so that the splits are alike.
_PERIOD, _VALID_FROM, _TEST_FROM = 400, 360, 380

# The field exchanges ptb-char with a blank behind every character; these are the digests of that form.
_PTB_CHAR_DIGESTS = {
    "train": "sha256:e313d91425e06c4f0a8fb6e881dcce0c291f2a0e9f4dda54833069b122f91da9",
    "valid": "sha256:21661f63ec355085879458b6524644d4add5573541b4be14fb52ab2e2e995eb8",
    "test": "sha256:1ef5607ac3c463b16e38bfe7900dd3bfc91de5a96e0f21e7eab5188b465b8ebe",
}


@dataclass(frozen=True)
class Corpus:
    """Texts of a corpus, by split.

    Args:
        name: of the corpus.
        texts: text by split; always `train` and `valid`, mostly `test`. Each ends with a line end.
        word_separator: what stands between words besides blanks; `_` in ptb-char.
        headings: True where documents begin with headings, as articles of WikiText do.
    """

    name: str
    texts: Mapping[str, str]
    word_separator: str = " "
    headings: bool = False


def load_texts(
    name: str,
    folder: Path,
    *,
    train: Path | None = None,
    valid: Path | None = None,
    test: Path | None = None,
    valid_fraction: float = 0.05,
    test_fraction: float = 0.05,
) -> Corpus:
    """Load the texts of a corpus, with the digests of published files checked.

    Args:
        name: one of `CORPORA`.
        folder: the data folder.
        train, valid, test: files of the corpus `text`. Without `valid`, the train file is split in order:
            train, valid and, unless there is a test file or `test_fraction` is 0, test. With `valid`, test is
            optional.
        valid_fraction, test_fraction: shares of the characters of a train file that is split.

    Returns:
        The corpus.

    Raises:
        InputError: unknown name, files that are missing, damaged or not text, or arguments that do not fit.
    """
    if name not in CORPORA:
        raise InputError(f"there is no corpus named {name!r}; expected one of {', '.join(CORPORA)}")
    if name == "text":
        return Corpus(name, _own_texts(train, valid, test, valid_fraction, test_fraction))
    if train or valid or test:
        raise InputError(f"train, valid and test name files of the corpus text; remove them, or {name}")
    if name == "python-docs":
        return Corpus(name, python_docs())
    entry = catalog_entry(name)
    verify(name, folder)
    texts = {split: read_text(folder / entry.name / file.name) for split, file in zip(SPLITS, entry.files, strict=True)}
    if name == "wikitext-2":
        return Corpus(name, texts, headings=True)
    texts = {split: with_lines_stripped(text) for split, text in texts.items()}
    if name == "ptb":
        return Corpus(name, texts)
    return Corpus(name, {split: ptb_characters(split, text) for split, text in texts.items()}, "_")


def ptb_characters(split: str, words: str) -> str:
    """Derive the character-level text of a Penn Treebank split from its words: `_` instead of each blank.

    Args:
        split: train, valid or test.
        words: the word-level text, lines without blanks at their ends.

    Raises:
        InputError: the result is not the text that the field uses.
    """
    text = words.replace(" ", "_")
    digest = bytes_digest((" ".join(text) + " ").encode())
    if digest != _PTB_CHAR_DIGESTS[split]:
        raise InputError(
            f"ptb-char {split} is not the published text: expected {_PTB_CHAR_DIGESTS[split]}, got {digest}; "
            "run `sgrnn data check ptb`"
        )
    return text


def python_docs() -> dict[str, str]:
    """Return the language reference that comes with Python by split, about 90 : 5 : 5.

    Topics follow each other in alphabetical order. Some quote each other at length; a paragraph is kept only
    where it occurs first, so that valid and test hold nothing that was seen in train. Lines with characters
    outside ASCII always go to train, so that no split holds a character that train lacks. It differs a little between
    versions of Python, so results on it compare only within one version.

    Raises:
        InputError: this Python came without `pydoc_data`.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise InputError(
            "python-docs needs the module pydoc_data, which this Python lacks; install the complete standard "
            "library, or choose another corpus (`sgrnn data list`)"
        ) from error
    paragraphs = dict.fromkeys(
        paragraph for name in sorted(topics) for paragraph in topics[name].strip("\n").split("\n\n")
    )
    pieces: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for number, line in enumerate("\n\n".join(paragraphs).split("\n")):
        place = number % _PERIOD
        if place < _VALID_FROM or not line.isascii():
            pieces["train"].append(line)
        else:
            pieces["valid" if place < _TEST_FROM else "test"].append(line)
    return {split: "\n".join(lines) + "\n" for split, lines in pieces.items()}


def with_lines_stripped(text: str) -> str:
    """Return a text without the blanks at the ends of its lines, as Penn Treebank is read."""
    return "".join(f"{line.strip(' ')}\n" for line in text.removesuffix("\n").split("\n"))


def _own_texts(
    train: Path | None, valid: Path | None, test: Path | None, valid_fraction: float, test_fraction: float
) -> dict[str, str]:
    if train is None:
        raise InputError("the corpus text needs a train file, got none; name one, such as train=book.txt")
    texts = {"train": read_text(train)}
    if valid is not None:
        texts["valid"] = read_text(valid)
    else:
        texts = split_text(texts["train"], valid_fraction, 0.0 if test else test_fraction, str(train))
    if test is not None:
        texts["test"] = read_text(test)
    return texts
