"""Tokenizers: exact vocabularies, round trips, saved forms, bad input."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_in import make_lines

from sgrnn.data import (
    TOKENIZER_KINDS,
    CharacterTokenizer,
    Corpus,
    SentencePieceTokenizer,
    Tokenizer,
    WordTokenizer,
    load_tokenizer,
    train_tokenizer,
)
from sgrnn.data.corpora import python_docs
from sgrnn.data.kinds import SUBWORD_KINDS, SubwordKind
from sgrnn.data.spelling import count_words
from sgrnn.errors import InputError

TEXT = "the cat saw the dog\nthe dog saw <unk>\n\n" * 2 + python_docs()["train"][:20_000]


def make(kind: str) -> Tokenizer:
    return train_tokenizer(kind, TEXT, vocabulary_size=500 if kind in SUBWORD_KINDS else None)


# Words


def test_ptb_words_are_the_10000_of_the_field_and_none_is_unknown_elsewhere(ptb: Corpus) -> None:
    tokenizer = WordTokenizer.from_text(ptb.texts["train"])
    assert tokenizer.vocabulary_size == 10_000
    for text in ptb.texts.values():
        tokens = tokenizer.encode(text)
        assert len(tokens) == count_words(text)
        assert np.count_nonzero(tokens == tokenizer.eos_id) == text.count("\n")
        unknown = tokenizer.words.index("<unk>")
        assert np.count_nonzero(tokens == unknown) == text.split().count("<unk>")


def test_rare_words_become_unknown() -> None:
    text = "a a a b b c\n"
    assert WordTokenizer.from_text(text).words == ("<eos>", "<unk>", "a", "b", "c")
    assert WordTokenizer.from_text(text, min_count=2).words == ("<eos>", "<unk>", "a", "b")
    assert WordTokenizer.from_text(text, max_size=3).words == ("<eos>", "<unk>", "a")
    assert WordTokenizer.from_text(text, min_count=2).encode("c b\n").tolist() == [1, 3, 0]


def test_decoded_words_are_the_text_and_a_line_end_is_a_token_only_where_there_is_one() -> None:
    text = make_lines(300)
    tokenizer = WordTokenizer.from_text(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    tokenizer = WordTokenizer.from_text(TEXT)
    eos = tokenizer.eos_id
    assert [*tokenizer.encode("cat").tolist(), eos] == tokenizer.encode("cat\n").tolist()
    assert tokenizer.encode("\n\n").tolist() == [eos, eos]
    assert tokenizer.encode("").tolist() == []


def test_a_word_prompt_names_its_unknown_words() -> None:
    tokenizer = WordTokenizer.from_text(TEXT)
    prompt = tokenizer.encode_prompt("the zebra saw\nthe zebra quagga\n")
    assert prompt.unknown == ("zebra", "quagga")
    assert prompt.tokens.tolist() == tokenizer.encode("the <unk> saw\nthe <unk> <unk>").tolist()


def test_word_vocabularies_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="min_count must be at least 1, got 0"):
        WordTokenizer.from_text(TEXT, min_count=0)
    with pytest.raises(InputError, match="max_size must be at least 3, got 2"):
        WordTokenizer.from_text(TEXT, max_size=2)
    with pytest.raises(InputError, match="vocabulary_size must be at least 3, a word besides <eos> and <unk>, got 2"):
        train_tokenizer("word", TEXT, vocabulary_size=2)
    for spoiled in ("the\n", " the", "of the"):  # which no text could hold, being split at blanks
        with pytest.raises(InputError, match=re.escape(f"as a text is split at these, got {spoiled!r}: strip it")):
            WordTokenizer(["<eos>", "<unk>", "<pad>", spoiled])
    assert WordTokenizer(["<eos>", "<unk>", "<pad>", " ", "\n", ""]).vocabulary_size == 6  # as torchtext may have it
    with pytest.raises(InputError, match="words must hold <unk>, got 2 without it"):
        WordTokenizer(["<eos>", "a"])
    with pytest.raises(InputError, match="words must differ from each other, got 'a' twice"):
        WordTokenizer(["<eos>", "a", "<unk>", "a"])


# Characters


def test_ptb_has_50_characters_and_every_one_is_a_token(ptb_char: Corpus) -> None:
    tokenizer = CharacterTokenizer.from_text(ptb_char.texts["train"])
    assert tokenizer.vocabulary_size == 50
    for text in ptb_char.texts.values():
        tokens = tokenizer.encode(text)
        assert len(tokens) == len(text)
        assert tokenizer.decode(tokens[:10_000]) == text[:10_000]
        assert np.count_nonzero(tokens == tokenizer.eos_id) == text.count("\n")


def test_characters_of_any_plane_come_back() -> None:
    text = "naïve\t漢字 🎉\n"
    tokenizer = CharacterTokenizer.from_text(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) == len(text)
    assert tokenizer.encode("").tolist() == []


def test_an_unseen_character_is_named_with_its_line() -> None:
    tokenizer = CharacterTokenizer.from_text("abc\n")
    for unseen, shown in (("é", "'é' (U+00E9)"), ("🎉", "'🎉' (U+1F389)"), ("!", "'!' (U+0021)")):
        with pytest.raises(InputError) as error:
            tokenizer.encode(f"ab\nc{unseen}\n", source="book valid")
        message = str(error.value)
        assert message.startswith(f"book valid holds the character {shown} in line 2, not among the 4 of the train")
        assert "train with min_count=2" in message
        with pytest.raises(InputError, match="the prompt holds the character"):
            tokenizer.encode_prompt(unseen)


def test_with_min_count_2_rare_and_unseen_characters_are_unknown() -> None:
    tokenizer = CharacterTokenizer.from_text("aab", min_count=2)
    assert tokenizer.characters == ("\n", "<unk>", "a")
    assert tokenizer.encode("ab🎉\n").tolist() == [2, 1, 1, 0]
    assert tokenizer.decode(tokenizer.encode("ab")) == "a<unk>"


def test_character_vocabularies_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="min_count must be at least 1, got 0"):
        CharacterTokenizer.from_text("a", min_count=0)
    with pytest.raises(InputError, match="characters must hold the line end"):
        CharacterTokenizer(["a"])
    with pytest.raises(InputError, match="characters must be single characters, got 'ab'"):
        CharacterTokenizer(["\n", "ab"])
    with pytest.raises(InputError, match="characters must differ from each other, got 'a' twice"):
        CharacterTokenizer(["\n", "a", "a"])


# Subwords

ROUND_TRIPS = [
    "the company said it expects\n",
    "two lines\nof text",
    " leading, trailing \n",
    "two  blanks and a\ttab\n",
    "\n\nempty lines\n\n",
    "unseen: é 漢字 🎉 <unk> </s> <eos> <0x41>\n",
    " \n",
    "",
]


@pytest.mark.parametrize("kind", SUBWORD_KINDS)
def test_subwords_come_back_as_the_text(kind: SubwordKind) -> None:
    tokenizer = SentencePieceTokenizer.from_text(make_lines(3000), vocabulary_size=600, kind=kind)
    assert tokenizer.vocabulary_size == 600
    other_split = make_lines(2000, seed=1)
    for text in (*ROUND_TRIPS, other_split):
        tokens = tokenizer.encode(text)
        assert tokenizer.decode(tokens) == text
        assert np.count_nonzero(tokens == tokenizer.eos_id) == text.count("\n")
        assert all(0 < token < 600 for token in tokens.tolist()), "0 is the unknown piece: bytes stand in for it"
    assert len(tokenizer.encode(other_split)) < len(other_split) / 2, "the pieces are longer than characters"
    assert len(tokenizer.encode("N <unk> N")) == 3, "one piece like any frequent word"


def test_learning_pieces_is_repeatable_and_silent(capfd: pytest.CaptureFixture[str]) -> None:
    for kind in SUBWORD_KINDS:
        assert make(kind).digest == make(kind).digest
    assert capfd.readouterr() == ("", "")


def test_subword_vocabularies_that_cannot_be_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    for learned in SUBWORD_KINDS:
        with pytest.raises(InputError, match=r"vocabulary_size must be at most [\d,]+ for this text, got 90,000"):
            train_tokenizer(learned, TEXT, vocabulary_size=90_000)
        with pytest.raises(InputError, match=r"vocabulary_size must be at least [\d,]+ for this text, got 50"):
            train_tokenizer(learned, TEXT, vocabulary_size=50)
    with pytest.raises(InputError, match="the text to learn pieces from is empty"):
        train_tokenizer("bpe", "\n\n", vocabulary_size=300)
    with pytest.raises(InputError, match="SentencePiece could not learn -5 pieces from this text: "):
        train_tokenizer("bpe", TEXT, vocabulary_size=-5)
    kind: Any = "word"  # as from code that is not checked
    with pytest.raises(InputError, match="kind must be bpe or unigram, got 'word'"):
        SentencePieceTokenizer.from_text(TEXT, vocabulary_size=300, kind=kind)
    assert capfd.readouterr() == ("", "")


# All kinds


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
def test_a_saved_tokenizer_comes_back_the_same_and_a_prompt_goes_on_in_its_line(kind: str, tmp_path: Path) -> None:
    tokenizer = make(kind)
    tokenizer.save(tmp_path / "run")
    loaded = load_tokenizer(tmp_path / "run")
    assert type(loaded) is type(tokenizer)
    assert repr(loaded) == repr(tokenizer)
    assert (loaded.kind, loaded.digest, loaded.eos_id) == (kind, tokenizer.digest, tokenizer.eos_id)
    assert loaded.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
    assert {path.suffix for path in (tmp_path / "run").iterdir()} <= {".json", ".model"}
    prompt = loaded.encode_prompt("the cat\n")
    assert prompt.unknown == ()
    assert prompt.tokens.tolist() == tokenizer.encode("the cat").tolist()
    assert loaded.decode(prompt.tokens) == "the cat"
    assert loaded.encode_prompt("").tokens.tolist() == []


def test_different_vocabularies_have_different_digests() -> None:
    tokenizers = [make(kind) for kind in TOKENIZER_KINDS]
    tokenizers += [WordTokenizer.from_text(TEXT, min_count=2), WordTokenizer(["<eos>", "<unk>"])]
    assert len({tokenizer.digest for tokenizer in tokenizers}) == len(tokenizers)


def test_arguments_that_do_not_fit_the_kind_are_refused() -> None:
    with pytest.raises(InputError, match="no tokenizer named 'words'; expected one of word, character, bpe, uni"):
        train_tokenizer("words", TEXT)
    with pytest.raises(InputError, match="bpe needs vocabulary_size, the number of pieces, got none; try"):
        train_tokenizer("bpe", TEXT)
    with pytest.raises(InputError, match="min_count is for word and character, not bpe, got 2; remove it"):
        train_tokenizer("bpe", TEXT, vocabulary_size=300, min_count=2)
    with pytest.raises(InputError, match="vocabulary_size is not for character, got 300; remove it"):
        train_tokenizer("character", TEXT, vocabulary_size=300)


def test_saved_files_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"tokenizer\.json does not exist; expected the folder of a saved tokenizer: restore"
    ):
        load_tokenizer(tmp_path)
    path = tmp_path / "tokenizer.json"
    for content, message in (
        ("{", r"tokenizer\.json is not JSON"),
        ("[]", r"tokenizer\.json must hold a JSON object, got list"),
        ('{"kind": "morse"}', "kind must be one of word, character, bpe, unigram, got 'morse'"),
        ('{"kind": "word", "tokens": [1]}', "tokens must be a list of strings"),
        ('{"kind": "word", "tokens": ["a", "a"]}', r"tokenizer\.json is damaged: words must differ"),
        ('{"kind": "bpe"}', r"sentencepiece\.model does not exist; restore it beside tokenizer\.json"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            load_tokenizer(tmp_path)
    (tmp_path / "sentencepiece.model").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"sentencepiece\.model is not a SentencePiece model \(11 bytes\)"):
        load_tokenizer(tmp_path)
    make("word").save(tmp_path)
    form = json.loads(path.read_text())
    form["tokens"][3] = "elsewhen"
    path.write_text(json.dumps(form))
    with pytest.raises(InputError, match=r"tokenizer\.json is damaged: expected a vocabulary of digest sha256:"):
        load_tokenizer(tmp_path)


def test_a_spelled_line_end_among_words_is_refused() -> None:
    tokenizer = WordTokenizer.from_text("a b\n")
    for text, line in (("<eos>", 1), ("a\n\n<eos> b\n", 3), ("a <eos>\tb", 1), ("<eos>\n" * 3, 1)):
        message = f"holds the word <eos> in line {line}, which stands for the end of a line"
        with pytest.raises(InputError, match=f"^text valid {message}"):
            tokenizer.encode(text, source="text valid")
        with pytest.raises(InputError, match=f"^the prompt {message}"):
            tokenizer.encode_prompt(text)
        with pytest.raises(InputError, match=f"^the train text {message}"):
            WordTokenizer.from_text(text)
    tokenizer = WordTokenizer.from_text("a <eos>b <eos><eos> x<eos>\n")
    assert tokenizer.decode(tokenizer.encode("<eos>b x<eos>\n")) == "<eos>b x<eos>\n", "within a word it is part of it"


def test_a_spelled_line_end_among_characters_and_pieces_is_text() -> None:
    text = "a\n\n<eos> b <eos>\n"
    for kind, size in (("character", None), ("bpe", 275)):
        tokenizer = train_tokenizer(kind, f"{text}\nabc abc\n", vocabulary_size=size)
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert np.count_nonzero(tokenizer.encode(text) == tokenizer.eos_id) == text.count("\n")


def test_a_run_too_long_for_a_unigram_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(**_: object) -> None:  # what SentencePiece 0.2 says of 400,000 letters, after minutes
        raise RuntimeError("INTERNAL: src/unigram_model_trainer.cc(211) [std::isfinite(score)] ")

    monkeypatch.setattr("sentencepiece.SentencePieceTrainer.train", train)
    with pytest.raises(InputError) as error:
        train_tokenizer("unigram", f"a b\n\n{'ACGT' * 1000} {'ACGT' * 100}\nc\n", vocabulary_size=300)
    assert str(error.value) == (
        "the text holds a run of 4,000 characters without a blank (in line 2, empty ones not counted), too long for a "
        "unigram model; break it with blanks or line ends, or use bpe"
    )


def test_every_token_has_a_name_of_its_own_in_the_order_of_the_ids() -> None:
    text = "to be or not <unk>\nto be\n"
    for kind, size in (("word", None), ("character", None), ("bpe", 270)):
        tokenizer = train_tokenizer(kind, text, vocabulary_size=size)
        names = list(tokenizer.vocabulary)
        assert len(set(names)) == len(names) == tokenizer.vocabulary_size
        spelled = "".join(names[token] for token in tokenizer.encode("to be").tolist())
        assert spelled.replace("\u2581", " ").replace(" ", "") == "tobe"


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
def test_half_of_a_surrogate_pair_is_refused_by_name(kind: str) -> None:
    text, size = "the cat\nsat \ud800 there\n", 30 if kind in SUBWORD_KINDS else None
    message = r"holds half of a surrogate pair, U\+D800, in line 2, expected characters: decode it by its own encoding"
    with pytest.raises(InputError, match=f"^the train text {message}"):
        train_tokenizer(kind, text, vocabulary_size=size)
    tokenizer = make(kind)
    with pytest.raises(InputError, match=f"^the text {message}"):
        tokenizer.counts(text)
    if kind != "word":  # for which it is a word that it does not know
        with pytest.raises(InputError, match="the prompt holds"):
            tokenizer.encode_prompt(text)
