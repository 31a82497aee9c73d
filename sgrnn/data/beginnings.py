"""Beginnings of lines and documents in an encoded text, at which a model's state can be reset."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sgrnn.data.corpora import Corpus
from sgrnn.data.token_files import TokenFiles
from sgrnn.errors import InputError

_ARTICLE = re.compile(r" *= (?!=).*(?<!=) = *")  # a heading of the first level in WikiText; the second has "= ="


def with_beginnings(
    files: TokenFiles, corpus: Corpus, unit: Literal["line", "document"], separator: str | None = None
) -> TokenFiles:
    """Return token files that know which of their tokens begin a line, or a document.

    What separates documents, line ends included, belongs to the one before: so a model learns where one ends.

    Args:
        files: the texts, encoded.
        corpus: the texts.
        unit: line or document.
        separator: a line that stands between documents, blanks at its ends aside; None for empty lines, and in
            WikiText for articles, each of which begins with a heading between empty lines.

    Raises:
        InputError: the train text holds no separator.
    """
    splits = {}
    for split, file in files.splits.items():
        if unit == "line":
            begins = line_beginnings(file.array, files.eos_id)
        else:
            begins = document_beginnings(
                file.array, corpus.texts[split], files.eos_id, separator, headings=corpus.headings
            )
            if split == "train" and not begins[1:].any():
                looked_for = f"line {separator!r}" if separator else "heading" if corpus.headings else "empty line"
                raise InputError(
                    f"data.reset is document, and {corpus.name} train holds no {looked_for} that separates documents: "
                    "name the line that does in data.separator, or set data.reset to line or none"
                )
        splits[split] = replace(file, begins=begins)
    return replace(files, splits=splits)


def line_beginnings(tokens: NDArray[np.integer], eos_id: int) -> NDArray[np.bool_]:
    """Return which tokens begin a line: the first, and each after a line end, (tokens,) bool.

    >>> line_beginnings(np.array([5, 0, 0, 7, 8]), eos_id=0).tolist()
    [True, False, True, True, False]
    """
    return np.concatenate(([True], tokens[:-1] == eos_id))


def document_beginnings(
    tokens: NDArray[np.integer], text: str, eos_id: int, separator: str | None = None, *, headings: bool = False
) -> NDArray[np.bool_]:
    """Return which tokens begin a document: the first, and those after what separates, (tokens,) bool.

    Args:
        tokens: of the text.
        text: the text.
        eos_id: of a line end.
        separator: as in `with_beginnings`.
        headings: whether it is written as WikiText is.
    """
    lines = text.removesuffix("\n").split("\n")
    firsts = [*(_articles(lines) if headings and separator is None else _after(lines, separator or ""))]
    begins = line_beginnings(tokens, eos_id)
    places = np.flatnonzero(begins)  # of the first token of every line
    begins[1:] = False
    begins[places[firsts]] = True
    return begins


def _after(lines: list[str], separator: str) -> Iterator[int]:
    """Yield the number of each line that follows a separator and is none itself."""
    separates = [line.strip() == separator.strip() for line in lines]
    for number in range(1, len(lines)):
        if separates[number - 1] and not separates[number]:
            yield number


def _articles(lines: list[str]) -> Iterator[int]:
    """Yield the number of each line, but the first one, that is a heading of the first level between empty lines."""
    for number in range(1, len(lines) - 1):
        alone = not lines[number - 1].strip() and not lines[number + 1].strip()
        if alone and _ARTICLE.fullmatch(lines[number]):
            yield number
