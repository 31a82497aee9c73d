"""Encoded text on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
from stand_in import make_lines

from sgrnn.data import CharacterTokenizer, Corpus, TokenFiles, WordTokenizer, prepare, train_tokenizer
from sgrnn.data.atomic import bytes_digest
from sgrnn.data.spelling import Spelling
from sgrnn.errors import InputError

CORPUS = Corpus("tiny", {"train": "to be or not\nto be\n", "valid": "not to be\n"})


def written(files: TokenFiles) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in files.folder.iterdir()}


def test_the_files_hold_what_the_tokenizer_gives_memory_mapped(tmp_path: Path) -> None:
    tokenizer = WordTokenizer.from_text(CORPUS.texts["train"], max_size=3)
    files = prepare(CORPUS, tokenizer, tmp_path)
    for split, text in CORPUS.texts.items():
        array = files[split].array
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        assert array.dtype == np.uint16
        assert array.tolist() == tokenizer.encode(text).tolist()
        assert files[split].counts == Spelling.of(tokenizer, CORPUS.texts["train"]).counts(tokenizer, text)
        assert files[split].digest == bytes_digest(text.encode())
    assert files["valid"].counts.unknown.replaced == 2
    assert (files.vocabulary_size, files.eos_id) == (tokenizer.vocabulary_size, tokenizer.eos_id)


def test_counts_are_those_of_the_text_whatever_the_tokens(tmp_path: Path) -> None:
    text = make_lines(1000, seed=1)
    words, characters = len(text.split()) + text.count("\n"), len(text)
    corpus = Corpus("lines", {"train": make_lines(1000), "valid": text, "test": text})
    test = prepare(corpus, train_tokenizer("bpe", corpus.texts["train"], vocabulary_size=500), tmp_path)["test"]
    assert test.counts[:3] == (words, characters, len(text.encode()))
    assert words < test.tokens < characters


def test_ptb_char_counts_words_between_underscores(ptb_char: Corpus, tmp_path: Path) -> None:
    files = prepare(ptb_char, CharacterTokenizer.from_text(ptb_char.texts["train"]), tmp_path)
    assert (files["test"].tokens, *files["test"].counts[:3]) == (442_423, 82_430, 442_423, 442_423)


def test_unchanged_text_is_not_encoded_again(tmp_path: Path) -> None:
    tokenizer = WordTokenizer.from_text(CORPUS.texts["train"])
    before = written(prepare(CORPUS, tokenizer, tmp_path))
    again = prepare(CORPUS, WordTokenizer(tokenizer.words), tmp_path)
    assert written(again) == before
    assert again["valid"].array.tolist() == tokenizer.encode(CORPUS.texts["valid"]).tolist()


def test_another_text_or_vocabulary_has_files_of_its_own(tmp_path: Path) -> None:
    tokenizer = WordTokenizer.from_text(CORPUS.texts["train"])
    changed = Corpus("tiny", {**CORPUS.texts, "valid": "not to be or\n"})
    smaller = WordTokenizer.from_text(CORPUS.texts["train"], max_size=4)
    prepared = [prepare(CORPUS, tokenizer, tmp_path), prepare(changed, tokenizer, tmp_path)]
    prepared.append(prepare(CORPUS, smaller, tmp_path))
    assert len({files.folder for files in prepared}) == 3
    assert prepared[1]["valid"].array.tolist() == tokenizer.encode("not to be or\n").tolist()
    assert prepared[2]["valid"].array.max() < 4


def test_damaged_files_are_made_again(tmp_path: Path) -> None:
    for damage in ("delete", "truncate", "empty", "shorten", "header", "headerless", "another form", "a list"):
        tokenizer = WordTokenizer.from_text(CORPUS.texts["train"])
        files = prepare(CORPUS, tokenizer, tmp_path)
        expected = files["train"].array.tolist()
        path, header = files.folder / "train.npy", files.folder / "token_files.json"
        if damage == "delete":
            path.unlink()
        elif damage == "truncate":
            path.write_bytes(path.read_bytes()[:-2])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "a list":
            header.write_text('{"splits": []}')
        elif damage == "shorten":
            np.save(path, np.zeros(1, np.uint16))
        elif damage == "another form":
            header.write_text(header.read_text().replace('"bytes"', '"octets"'))
        elif damage == "header":
            header.write_text("{")
        else:
            header.unlink()
        again = prepare(CORPUS, tokenizer, tmp_path)
        assert again["train"].array.tolist() == expected
        assert json.loads(header.read_text())["splits"]["train"]["tokens"] == len(expected)
        assert again.folder == files.folder
        assert {path.suffix for path in files.folder.iterdir()} == {".npy", ".json"}


def test_large_vocabularies_take_wider_numbers(tmp_path: Path) -> None:
    text = " ".join(f"w{number}" for number in range(70_000)) + "\n"
    files = prepare(Corpus("wide", {"train": text}), WordTokenizer.from_text(text), tmp_path)
    assert files["train"].array.dtype == np.uint32
    assert files["train"].array.max() == 70_001


def test_a_split_that_cannot_be_encoded_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    corpus = Corpus("tiny", {"train": "ab\n", "valid": "abc\n"})
    tokenizer = CharacterTokenizer.from_text(corpus.texts["train"])
    for _ in range(2):
        with pytest.raises(InputError, match="tiny valid holds the character 'c'"):
            prepare(corpus, tokenizer, tmp_path)
    assert not list(tmp_path.rglob("token_files.json"))


def test_a_split_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    files = prepare(CORPUS, WordTokenizer.from_text(CORPUS.texts["train"]), tmp_path)
    with pytest.raises(InputError, match="has no split named 'test'; expected one of train, valid"):
        files["test"]
