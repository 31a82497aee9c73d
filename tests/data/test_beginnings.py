"""Beginnings of lines and documents: marks of tokens, of every tokenizer, and of a stream's spans."""

from pathlib import Path

import numpy as np
import pytest

from sgrnn.data import Corpus, TokenStream, prepare, train_tokenizer
from sgrnn.data.beginnings import with_beginnings
from sgrnn.errors import InputError

LINES = ["to be", "or not", "", " ", "to be that", "", "is", "***", "*** not", " *** ", "*"]
ARTICLES = [
    "", " = To be = ", "", " to be = or", "", " = = Not = = ", "", "not", " = be = ", "or", "", "= Or = ", "", "or",
]  # fmt: skip
TOKENIZERS = ({"kind": "word"}, {"kind": "character"}, {"kind": "bpe", "vocabulary_size": 275})


def marked(lines: list[str], folder: Path, tokenizer: dict[str, object], headings: bool, **options: str) -> list[str]:
    """The lines that are marked, as texts; every mark must stand at the first token of a line."""
    text = "\n".join(lines) + "\n"
    corpus = Corpus("tiny", {"train": text, "valid": text}, headings=headings)
    trained = train_tokenizer(text=text, **tokenizer)  # pyright: ignore[reportArgumentType]
    files = with_beginnings(prepare(corpus, trained, folder), corpus, **options)  # pyright: ignore[reportArgumentType]
    marks, same = files["train"].begins, files["valid"].begins
    assert marks is not None
    assert same is not None
    assert marks.tolist() == same.tolist()
    found, place = [], 0
    for line in lines:
        tokens = len(trained.encode(f"{line}\n"))
        assert not marks[place + 1 : place + tokens].any()
        if marks[place]:
            found.append(line)
        place += tokens
    assert place == len(marks)
    return found


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda options: options["kind"])
def test_each_kind_of_beginning_is_found_among_the_tokens(tokenizer: dict[str, object], tmp_path: Path) -> None:
    for lines, headings, options, expected in (
        (LINES, False, {"unit": "line"}, LINES),
        (LINES, False, {"unit": "document"}, ["to be", "to be that", "is"]),
        (LINES, False, {"unit": "document", "separator": "***"}, ["to be", "*** not", "*"]),
        (ARTICLES, True, {"unit": "document"}, ["", " = To be = ", "= Or = "]),
        (ARTICLES, True, {"unit": "document", "separator": "not"}, ["", " = be = "]),
    ):
        assert marked(lines, tmp_path, tokenizer, headings, **options) == expected


@pytest.mark.parametrize(
    ("lines", "headings", "options", "looked_for"),
    [
        (["to be", "or not"], False, {}, "empty line"),
        (LINES, True, {}, "heading"),
        (LINES, False, {"separator": "---"}, "line '---'"),
    ],
)
def test_a_text_of_one_document_is_refused(
    lines: list[str], headings: bool, options: dict[str, str], looked_for: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        marked(lines, tmp_path, {"kind": "word"}, headings, unit="document", **options)
    assert str(refused.value) == (
        f"data.reset is document, and tiny train holds no {looked_for} that separates documents: name the line that "
        "does in data.separator, or set data.reset to line or none"
    )


def test_spans_tell_where_sequences_begin_and_that_they_end_before() -> None:
    begins = np.isin(np.arange(20), [0, 4, 6, 7, 15])
    stream = TokenStream(np.arange(20), 99, 2, 4, lookahead=3, begins=begins)
    places = []
    for _ in range(2 * stream.spans_per_epoch):
        span = next(stream)
        places.append((
            span.marked_first().T.nonzero().tolist(),
            None if span.future is None else span.future.marked_first().T.nonzero().tolist(),
            None if span.is_last is None else span.is_last.tolist(),
        ))  # fmt: skip
    assert places[:3] == places[3:]
    assert places[:3] == [
        ([[0, 0], [1, 0]], [[0, 0], [0, 2], [1, 1]], [True, False]),
        ([[0, 0], [0, 2], [0, 3], [1, 1]], [], None),
        ([], None, [True, True]),
    ]
