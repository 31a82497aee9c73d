"""The charge for `<unk>`: a probability of what it stands for, none where it is the text's own word."""

from itertools import product
from math import exp, log

import pytest
import sentencepiece

from sgrnn.data import CharacterTokenizer, Corpus, SentencePieceTokenizer, WordTokenizer, train_tokenizer
from sgrnn.data.spelling import Spelling, Unknown

CODE_POINTS = 0x110000 - 0x800


def test_a_word_is_spelled_by_the_characters_of_the_train_texts_words_and_its_end() -> None:
    """to, be, to: t 2, o 2, b 1, e 1, ends 3, each and the other characters one more, 15 in all."""
    spelling = Spelling(WordTokenizer(["<eos>", "<unk>", "to"]), "to be\nto\n")
    assert spelling.charge("to to\n") == Unknown(0, 0, 0.0)
    charged = spelling.charge("to be be\nbot\n")
    assert (charged.replaced, charged.written) == (3, 0)
    probability = (2 / 15 * 2 / 15 * 4 / 15) ** 2 * (2 / 15 * 3 / 15 * 3 / 15 * 4 / 15)
    assert charged.nats == pytest.approx(-log(probability))
    unseen = spelling.charge("\N{GREEK SMALL LETTER ALPHA}\n")
    assert unseen.nats == pytest.approx(-log(1 / 15 / (CODE_POINTS - 4) * 4 / 15))


def test_it_is_a_probability() -> None:
    """All words of up to so many known characters, and the chance that a word goes on, add up to 1."""
    train = "to be\nto\n"
    spelling = Spelling(WordTokenizer(["<eos>", "<unk>"]), train)
    short = [(), *product("tobe"), *product("tobe", repeat=2)]
    total = sum(exp(-spelling.charge("".join(word)).nats) for word in short if word) + 4 / 15  # an empty word
    known = 10 / 15
    assert total == pytest.approx(4 / 15 * (1 + known + known**2))
    others = exp(-spelling.charge("\N{GREEK SMALL LETTER ALPHA}").nats) * (CODE_POINTS - 4)
    assert others == pytest.approx(1 / 15 * 4 / 15)


def test_an_unk_of_the_texts_own_costs_nothing_where_nothing_is_replaced(ptb: Corpus) -> None:
    tokenizer = WordTokenizer.from_text(ptb.texts["train"])
    spelling = Spelling(tokenizer, ptb.texts["train"])
    for text in ptb.texts.values():
        assert spelling.charge(text) == Unknown(0, text.split().count("<unk>"), 0.0)


def test_an_unk_of_the_texts_own_and_what_is_replaced_share_the_token() -> None:
    """Two of the three `<unk>` of the train text are its own."""
    train = "<unk> a <unk> b a a\n"
    tokenizer = WordTokenizer.from_text(train, max_size=3)
    assert tokenizer.words == ("<eos>", "<unk>", "a")
    spelling = Spelling(tokenizer, train)
    assert spelling.charge("<unk> <unk>\n") == pytest.approx((0, 2, -2 * log(2 / 3)))
    alone = Spelling(WordTokenizer(["<eos>", "<unk>", "a"]), train.replace("<unk>", "u")).charge("u\n")
    assert (alone.replaced, alone.written) == (1, 0)
    charged = spelling.charge("b\n")
    count = len("<unk>abaa<unk>") + 6 + len(set("<unk>ab")) + 2
    assert charged == pytest.approx((1, 0, -log(1 / 3) - log(2 / count) - log(7 / count)))


def test_where_the_train_text_has_none_of_its_own_it_is_spelled_like_any_other() -> None:
    spelling = Spelling(WordTokenizer.from_text("a b\n"), "a b\n")
    charged = spelling.charge("<unk>\n")
    assert (charged.replaced, charged.written) == (1, 0)
    assert charged.nats > 5 * log(CODE_POINTS)


def test_a_rare_character_is_charged_its_share_without_an_end() -> None:
    train = "aab\nc"
    spelling = Spelling(CharacterTokenizer.from_text(train, min_count=2), train)
    assert spelling.charge("ab\n") == pytest.approx((1, 0, -log(2 / 10)))
    assert spelling.charge("z") == pytest.approx((1, 0, -log(1 / 10 / (CODE_POINTS - 4))))


def test_pieces_spell_what_they_do_not_know_in_bytes_at_the_models_own_cost() -> None:
    for kind in ("bpe", "unigram"):
        train = "the cat saw the dog\n" * 20
        tokenizer = train_tokenizer(kind, train, vocabulary_size=269)
        text = "the Z\u00e9bra \U0001f600\n"
        assert Spelling(tokenizer, train).charge(text) == Unknown(0, 0, 0.0)
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
    charged = Spelling(tokenizer, train).charge(text)
    assert charged.replaced == unknown
    assert charged.nats > 2 * log(CODE_POINTS)
