"""The adapter, against the real torchtext 0.6.0, on a text in the form of the Penn Treebank."""

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchtext
from stand_in import make_ptb
from torchtext.data import BPTTIterator, Dataset, Example, Field
from torchtext.datasets import LanguageModelingDataset, PennTreebank

from sgrnn.data import Corpus, TokenStream, WordTokenizer
from sgrnn.data.torchtext import require_torchtext, spans, tokenizer_from_vocab
from sgrnn.errors import InputError
from sgrnn.span import Span


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with what stands in for the Penn Treebank."""
    data = tmp_path_factory.mktemp("ptb")
    make_ptb(data)
    return data


@pytest.fixture(scope="module")
def ptb(folder: Path) -> Corpus:
    """The same as a corpus of ours."""
    return Corpus("ptb", {split: (folder / "ptb" / f"ptb.{split}.txt").read_text() for split in ("valid", "test")})


@pytest.fixture(scope="module")
def splits(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """PennTreebank.splits on files placed where it would download them to."""
    root = tmp_path_factory.mktemp("torchtext")
    (root / "penn-treebank").symlink_to(folder / "ptb")
    field = Field()
    # The train text gives the vocabulary; reading valid and test keeps the test quick.
    parts = PennTreebank.splits(
        field, root=str(root), train="ptb.valid.txt", validation="ptb.test.txt", test="ptb.test.txt"
    )
    datasets = parts[:2]
    field.build_vocab(datasets[0])
    return datasets


def small(tmp_path: Path, text: str, **field_options: Any) -> Any:
    (tmp_path / "text.txt").write_text(text)
    field = Field(**field_options)
    dataset = LanguageModelingDataset(str(tmp_path / "text.txt"), field)
    field.build_vocab(dataset)
    return dataset


def joined(cut: list[Span], name: str) -> torch.Tensor:
    return torch.cat([getattr(span, name) for span in cut])


def test_its_tokens_are_ours(splits: Any, ptb: Corpus) -> None:
    tokenizer = tokenizer_from_vocab(splits[0].fields["text"].vocab)
    assert isinstance(tokenizer, WordTokenizer)
    for dataset, split in zip(splits, ("valid", "test"), strict=True):
        vocab = dataset.fields["text"].vocab
        theirs = [vocab.stoi[word] for word in dataset[0].text]
        assert tokenizer.encode(ptb.texts[split]).tolist() == theirs
        assert tokenizer.vocabulary_size == len(vocab)


def test_with_one_row_its_spans_are_those_of_our_stream(splits: Any, ptb: Corpus) -> None:
    tokenizer = tokenizer_from_vocab(splits[0].fields["text"].vocab)
    tokens = tokenizer.encode(ptb.texts["valid"])
    # Its text begins with the first token; ours has the line end before it.
    ours = TokenStream(tokens[1:], int(tokens[0]), 1, 200, lookahead=250)
    cut = list(spans(BPTTIterator(splits[0], batch_size=1, bptt_len=200), lookahead=250))
    assert len(cut) == ours.spans_per_epoch
    for theirs, expected in zip(cut, ours, strict=False):
        for name in ("inputs", "targets"):
            assert torch.equal(getattr(theirs, name), getattr(expected, name))
            if expected.future is not None:
                assert torch.equal(getattr(theirs.future, name), getattr(expected.future, name))
        assert (theirs.future is None) == (expected.future is None)
        assert (theirs.is_first is None) == (expected.is_first is None)
        assert (theirs.is_last is None) == (expected.is_last is None)


def test_each_of_its_rows_is_our_stream_of_that_piece_of_text(splits: Any, ptb: Corpus) -> None:
    batch_size = 20
    vocab = splits[0].fields["text"].vocab
    tokens = tokenizer_from_vocab(vocab).encode(ptb.texts["valid"]).tolist()
    length = -(-len(tokens) // batch_size)
    padding = [vocab.stoi["<pad>"]] * (length * batch_size - len(tokens))
    rows = torch.tensor(tokens + padding).view(batch_size, length)
    cut = list(spans(BPTTIterator(splits[0], batch_size=batch_size, bptt_len=35)))
    for row in range(batch_size):
        piece = rows[row].numpy()
        ours = TokenStream(piece[1:], int(piece[0]), 1, 35)
        expected = list(itertools.islice(ours, ours.spans_per_epoch))
        assert torch.equal(joined(cut, "inputs")[:, row], joined(expected, "inputs")[:, 0])
        assert torch.equal(joined(cut, "targets")[:, row], joined(expected, "targets")[:, 0])
        assert [span.steps for span in cut] == [span.steps for span in expected]


def test_the_future_is_what_the_next_batches_hold(tmp_path: Path) -> None:
    for lookahead in (0, 3, 1000):
        dataset = small(tmp_path, "a b c d e f g h i j k\n" * 5)
        cut = list(spans(BPTTIterator(dataset, batch_size=4, bptt_len=4), lookahead))
        assert [span.steps for span in cut] == [4, 4, 4, 2]
        for number, span in enumerate(cut):
            later = cut[number + 1 :]
            if not later or lookahead == 0:
                assert span.future is None
            else:
                assert span.future is not None
                assert torch.equal(span.future.inputs, joined(later, "inputs")[:lookahead])
                assert torch.equal(span.future.targets, joined(later, "targets")[:lookahead])
                assert (span.future.is_last is not None) == (sum(each.steps for each in later) <= lookahead)


def test_with_repeat_epochs_follow_each_other(tmp_path: Path) -> None:
    dataset = small(tmp_path, "a b c d e f g h i j k\n" * 5)
    once = list(spans(BPTTIterator(dataset, batch_size=4, bptt_len=4), lookahead=6))
    cut = list(itertools.islice(spans(BPTTIterator(dataset, batch_size=4, bptt_len=4, repeat=True), 6), 12))
    for number, span in enumerate(cut):
        expected = once[number % 4]
        assert torch.equal(span.inputs, expected.inputs)
        assert (span.is_first is None) == (number % 4 != 0)
        assert (span.is_last is None) == (number % 4 != 3)
        assert (span.future is None) == (expected.future is None)


def test_a_batch_first_field_gives_the_same_spans(tmp_path: Path) -> None:
    text = "a b c d e f g h i j k\n" * 5
    usual = spans(BPTTIterator(small(tmp_path, text), batch_size=4, bptt_len=4), 3)
    turned = spans(BPTTIterator(small(tmp_path, text, batch_first=True), batch_size=4, bptt_len=4), 3)
    for one, other in zip(usual, turned, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)


def test_what_cannot_be_streamed_is_refused(tmp_path: Path) -> None:
    dataset = small(tmp_path, "a b c\n")
    with pytest.raises(InputError, match="its 4 tokens make 10 rows of less than one step"):
        spans(BPTTIterator(dataset, batch_size=10, bptt_len=4))
    with pytest.raises(InputError, match="lookahead must be at least 0, got -1"):
        spans(BPTTIterator(dataset, batch_size=1, bptt_len=4), -1)


def test_vocabularies_without_the_special_words_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a b c\n")
    field = Field()
    field.build_vocab(LanguageModelingDataset(str(tmp_path / "text.txt"), field, newline_eos=False))
    with pytest.raises(InputError, match=r"\(5 words\) must hold <eos>; load the text with newline_eos=True"):
        tokenizer_from_vocab(field.vocab)
    with pytest.raises(InputError, match="must hold <unk>; build it with a Field that has an unk_token"):
        tokenizer_from_vocab(small(tmp_path, "a b\n", unk_token=None).fields["text"].vocab)


def test_a_torchtext_that_is_absent_or_another_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchtext", None)
    with pytest.raises(InputError, match=r"needs torchtext 0\.6\.0, which cannot be imported .*'\.\[torchtext\]'"):
        require_torchtext()
    monkeypatch.undo()
    monkeypatch.setattr(torchtext, "__version__", "0.18.0")
    with pytest.raises(InputError, match=r"needs torchtext 0\.6\.0, got 0\.18\.0; install it"):
        require_torchtext()


def several(texts: list[str], name: str = "text") -> BPTTIterator:
    """Over a dataset of several examples."""
    field = Field()
    examples: Any = [Example.fromlist([text], [(name, field)]) for text in texts]
    dataset = Dataset(examples, [(name, field)])
    field.build_vocab(dataset)
    return BPTTIterator(dataset, batch_size=2, bptt_len=5, repeat=False)


def test_the_examples_of_a_dataset_are_read_as_one_text() -> None:
    texts = [" ".join(f"w{number}" for number in numbers) for numbers in (range(43), range(100, 200), range(200, 300))]
    cut = list(spans(several(texts)))
    whole = list(spans(several([" ".join(texts)])))
    assert sum(span.targets.numel() for span in cut) == 2 * 121, "243 tokens and a pad in two rows"
    for one, other in zip(cut, whole, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)
    iterator = several(texts)
    list(spans(iterator))
    assert len(iterator.dataset.examples) == 3, "the user's own is left alone"


def test_a_dataset_without_a_text_is_refused() -> None:
    for iterator in (several([]), several(["a b"], name="words")):
        with pytest.raises(InputError, match=r"must hold examples with a field named text, got [01] examples without"):
            next(spans(iterator))
