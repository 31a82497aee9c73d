"""The charge for `<unk>`: a probability of what it stands for, none where it is the text's own word."""

import io
from itertools import product
from math import exp, log
from pathlib import Path

import pytest
import sentencepiece

from sgrnn.data import (
    CharacterTokenizer,
    Corpus,
    SentencePieceTokenizer,
    Tokenizer,
    WordTokenizer,
    load_tokenizer,
    train_tokenizer,
)
from sgrnn.data.spelling import Spelling, Unknown
from sgrnn.errors import InputError

CODE_POINTS = 0x110000 - 0x800


class Charge:
    """The charge of texts by the spelling of a train text."""

    def __init__(self, tokenizer: Tokenizer, train: str) -> None:
        self._tokenizer, self._spelling = tokenizer, Spelling.of(tokenizer, train)

    def __call__(self, text: str) -> Unknown:
        return self._spelling.counts(self._tokenizer, text).unknown


def test_a_word_is_spelled_by_the_characters_of_the_train_texts_words_and_its_end() -> None:
    """to, be, to: t 2, o 2, b 1, e 1, ends 3, each and the other characters one more, 15 in all."""
    charge = Charge(WordTokenizer(["<eos>", "<unk>", "to"]), "to be\nto\n")
    assert charge("to to\n") == Unknown(0, 0, 0.0)
    charged = charge("to be be\nbot\n")
    assert (charged.replaced, charged.written) == (3, 0)
    probability = (2 / 15 * 2 / 15 * 4 / 15) ** 2 * (2 / 15 * 3 / 15 * 3 / 15 * 4 / 15)
    assert charged.nats == pytest.approx(-log(probability))
    unseen = charge("\N{GREEK SMALL LETTER ALPHA}\n")
    assert unseen.nats == pytest.approx(-log(1 / 15 / (CODE_POINTS - 4) * 4 / 15))


def test_it_is_a_probability() -> None:
    """All words of up to so many known characters, and the chance that a word goes on, add up to 1."""
    train = "to be\nto\n"
    charge = Charge(WordTokenizer(["<eos>", "<unk>"]), train)
    short = [(), *product("tobe"), *product("tobe", repeat=2)]
    total = sum(exp(-charge("".join(word)).nats) for word in short if word) + 4 / 15  # an empty word
    known = 10 / 15
    assert total == pytest.approx(4 / 15 * (1 + known + known**2))
    others = exp(-charge("\N{GREEK SMALL LETTER ALPHA}").nats) * (CODE_POINTS - 4)
    assert others == pytest.approx(1 / 15 * 4 / 15)


def test_an_unk_of_the_texts_own_costs_nothing_where_nothing_is_replaced(ptb: Corpus) -> None:
    tokenizer = WordTokenizer.from_text(ptb.texts["train"])
    charge = Charge(tokenizer, ptb.texts["train"])
    for text in ptb.texts.values():
        assert charge(text) == Unknown(0, text.split().count("<unk>"), 0.0)


def test_an_unk_of_the_texts_own_and_what_is_replaced_share_the_token() -> None:
    """Two of the three `<unk>` of the train text are its own."""
    train = "<unk> a <unk> b a a\n"
    tokenizer = WordTokenizer.from_text(train, max_size=3)
    assert tokenizer.words == ("<eos>", "<unk>", "a")
    charge = Charge(tokenizer, train)
    assert charge("<unk> <unk>\n") == pytest.approx((0, 2, -2 * log(2 / 3)))
    alone = Charge(WordTokenizer(["<eos>", "<unk>", "a"]), train.replace("<unk>", "u"))("u\n")
    assert (alone.replaced, alone.written) == (1, 0)
    charged = charge("b\n")
    count = len("<unk>abaa<unk>") + 6 + len(set("<unk>ab")) + 2
    assert charged == pytest.approx((1, 0, -log(1 / 3) - log(2 / count) - log(7 / count)))


def test_where_the_train_text_has_none_of_its_own_it_is_spelled_like_any_other() -> None:
    charge = Charge(WordTokenizer.from_text("a b\n"), "a b\n")
    charged = charge("<unk>\n")
    assert (charged.replaced, charged.written) == (1, 0)
    assert charged.nats > 5 * log(CODE_POINTS)


def test_a_rare_character_is_charged_its_share_without_an_end() -> None:
    train = "aab\nc"
    charge = Charge(CharacterTokenizer.from_text(train, min_count=2), train)
    assert charge("ab\n") == pytest.approx((1, 0, -log(2 / 10)))
    assert charge("z") == pytest.approx((1, 0, -log(1 / 10 / (CODE_POINTS - 4))))


def test_pieces_spell_what_they_do_not_know_in_bytes_at_the_models_own_cost() -> None:
    for kind in ("bpe", "unigram"):
        train = "the cat saw the dog\n" * 20
        tokenizer = train_tokenizer(kind, train, vocabulary_size=269)
        text = "the Z\u00e9bra \U0001f600\n"
        assert Charge(tokenizer, train)(text) == Unknown(0, 0, 0.0)
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_pieces_without_a_byte_for_it_are_charged(tmp_path_factory: pytest.TempPathFactory) -> None:
    prefix = tmp_path_factory.mktemp("pieces") / "foreign"
    train = "the cat saw the dog\n" * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(train.splitlines()), model_prefix=str(prefix), model_type="unigram", vocab_size=18,
        byte_fallback=False, unk_id=0, eos_id=1, bos_id=-1, pad_id=-1, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    tokenizer = SentencePieceTokenizer(prefix.with_suffix(".model").read_bytes(), "unigram")
    text = "the ZX dog\n"
    unknown = tokenizer.encode(text).tolist().count(0)
    assert unknown > 0
    charged = Charge(tokenizer, train)(text)
    assert charged.replaced == unknown
    assert charged.nats > 2 * log(CODE_POINTS)


def test_pieces_of_a_model_made_elsewhere_must_have_one_for_a_line_end() -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the dog", "the cat"]), model_writer=model, vocab_size=11, eos_id=-1, minloglevel=2
    )
    with pytest.raises(InputError, match=r"must have a piece for the end of a sentence, .* got eos_id -1: train it wi"):
        SentencePieceTokenizer(model.getvalue(), "unigram")


def test_a_text_has_words_where_some_of_usual_length_stand_in_a_line() -> None:
    tokenizer = WordTokenizer(["<eos>", "<unk>"])
    for train, has in (
        ("to be or not\n\nto be\n", True),
        ("one_two_three\n", False),
        ("word\nlist\nof\nall\n", False),
        ("ACGT" * 15 + " " + "ACGT" * 15 + "\n", False),
        ("\u6587\u7ae0\u3002\n" * 9 + "\u4e00 \u4e8c\n", False),
        ("Donaudampfschiff fahren\n", True),
    ):
        assert Spelling.of(tokenizer, train).has_words == has, train
        underscored = Spelling.of(tokenizer, train.replace(" ", "_"), "_")
        assert underscored.has_words == (has or "_" in train)
        assert underscored.counts(tokenizer, "to_be or\n\n").words == (5 if underscored.has_words else None)


@pytest.mark.parametrize("kind", ["word", "character", "bpe"])
def test_a_tokenizer_keeps_the_spelling_of_its_train_text_and_saves_it(kind: str, tmp_path: Path) -> None:
    train = "the cat saw the \N{GREEK SMALL LETTER ALPHA}_dog <unk>\n" * 20 + "x\n"
    options = {"vocabulary_size": 281} if kind == "bpe" else {"min_count": 2}
    tokenizer = train_tokenizer(kind, train, word_separator="_", **options)
    assert tokenizer.spelling == Spelling.of(tokenizer, train, "_")
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.spelling == tokenizer.spelling
    for text in ("a zebra_saw x <unk>\n", train):
        assert loaded.counts(text) == tokenizer.counts(text)
    assert loaded.counts("a zebra_saw x <unk>\n").words == 6
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace('"has_words": true', '"has_words": false'))
    with pytest.raises(InputError, match=r"tokenizer\.json is damaged: expected a spelling of digest sha256:"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_a_spelling_says_what_is_missing(tmp_path: Path) -> None:
    tokenizer = WordTokenizer.from_text("to be\n")
    tokenizer.save(tmp_path)
    with pytest.raises(InputError, match=r"lacks the spelling of its train text, .* set tokenizer\.spelling = "):
        load_tokenizer(tmp_path).counts("to\n")
    tokenizer.spelling = Spelling.of(tokenizer, "to be\n")
    assert tokenizer.counts("to\n")[:3] == (2, 3, 3)
