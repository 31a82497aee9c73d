"""Corpora: the real texts, and the user's own."""

import sys
from pathlib import Path

import pytest

from sgrnn.data import CORPORA, Corpus, fetch, load_texts
from sgrnn.data.corpora import ptb_characters, python_docs
from sgrnn.data.spelling import count_words
from sgrnn.errors import InputError


def test_ptb_has_the_words_the_field_counts(ptb: Corpus) -> None:
    assert {split: count_words(text) for split, text in ptb.texts.items()} == {
        "train": 929_589,
        "valid": 73_760,
        "test": 82_430,
    }


def test_ptb_char_is_ptb_character_by_character(ptb: Corpus, ptb_char: Corpus) -> None:
    assert {split: len(text) for split, text in ptb_char.texts.items()} == {
        "train": 5_017_482,
        "valid": 393_042,
        "test": 442_423,
    }
    for split, text in ptb_char.texts.items():
        assert text.replace("_", " ") == ptb.texts[split]
        assert count_words(text, "_") == count_words(ptb.texts[split])


def test_blanks_at_the_ends_of_lines_are_dropped_and_those_between_words_become_underscores(stand_ins: Path) -> None:
    words, characters = load_texts("ptb", stand_ins), load_texts("ptb-char", stand_ins)
    for split, text in words.texts.items():
        assert not any(line != line.strip(" ") for line in text.splitlines())
        assert characters.texts[split] == text.replace(" ", "_")
        assert count_words(characters.texts[split], "_") == count_words(text) == len(text.split()) + text.count("\n")


def test_a_ptb_char_that_is_not_the_published_one_is_refused() -> None:
    with pytest.raises(InputError, match="ptb-char test is not the published text: expected sha256:1ef5"):
        ptb_characters("test", "no it was n't black monday\n")


def test_a_damaged_or_absent_file_is_named_when_loading(stand_ins: Path, tmp_path: Path) -> None:
    for name in ("ptb", "ptb-char"):
        with pytest.raises(InputError, match=r"ptb\.train\.txt is missing.*sgrnn data fetch ptb"):
            load_texts(name, tmp_path)
    fetch("ptb", tmp_path, source=stand_ins)
    with (tmp_path / "ptb" / "ptb.valid.txt").open("a") as file:
        file.write("one more line\n")
    with pytest.raises(InputError, match=r"ptb\.valid\.txt is damaged"):
        load_texts("ptb", tmp_path)


def test_python_docs_is_the_same_every_time_and_split_about_90_5_5(tmp_path: Path) -> None:
    corpus = load_texts("python-docs", tmp_path)
    assert corpus == load_texts("python-docs", tmp_path)
    total = sum(map(len, corpus.texts.values()))
    assert total > 200_000
    for split, share in (("train", 0.90), ("valid", 0.05), ("test", 0.05)):
        assert abs(len(corpus.texts[split]) / total - share) < 0.01


def test_python_docs_has_no_character_that_train_lacks_and_repeats_no_paragraph() -> None:
    texts = python_docs()
    assert set(texts["valid"]) | set(texts["test"]) <= set(texts["train"])
    for split in ("valid", "test"):
        # A paragraph that was cut in two may leave a line that train holds as a paragraph of its own.
        paragraphs = [paragraph for paragraph in texts[split].split("\n\n") if paragraph.count("\n") >= 2]
        repeated = [paragraph for paragraph in paragraphs if paragraph in texts["train"]]
        assert repeated == []


def test_a_python_without_pydoc_data_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(InputError, match="python-docs needs the module pydoc_data"):
        python_docs()


def test_own_files_are_taken_as_they_are(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / split).write_bytes(f" {split}  text\r\n".encode())
    own = {split: tmp_path / split for split in ("train", "valid", "test")}
    loaded = load_texts("text", tmp_path, train=own["train"], valid=own["valid"], test=own["test"])
    assert loaded.texts == {split: f" {split}  text\n" for split in own}
    assert list(load_texts("text", tmp_path, train=own["train"], valid=own["valid"]).texts) == [
        "train",
        "valid",
    ]


def test_one_own_file_is_split(tmp_path: Path) -> None:
    lines = [f"{number}\n" for number in range(100, 200)]
    (tmp_path / "book").write_text("".join(lines))
    (tmp_path / "test").write_text("test\n")
    book = tmp_path / "book"
    texts = load_texts("text", tmp_path, train=book, valid_fraction=0.2, test_fraction=0.1).texts
    assert texts == {
        "train": "".join(lines[:70]),
        "valid": "".join(lines[70:90]),
        "test": "".join(lines[90:]),
    }
    texts = load_texts("text", tmp_path, train=book, test=tmp_path / "test", valid_fraction=0.2).texts
    assert texts == {"train": "".join(lines[:80]), "valid": "".join(lines[80:]), "test": "test\n"}


def test_arguments_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no corpus named 'penn'; expected one of {', '.join(CORPORA)}"):
        load_texts("penn", tmp_path)
    with pytest.raises(InputError, match="the corpus text needs a train file, got none"):
        load_texts("text", tmp_path)
    with pytest.raises(InputError, match="train, valid and test name files of the corpus text; remove them, or ptb"):
        load_texts("ptb", tmp_path, valid=tmp_path / "valid")
