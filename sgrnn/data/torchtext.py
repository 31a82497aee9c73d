"""Adapter for torchtext 0.6.0, the extra `torchtext`: its iterators and vocabularies feed the same estimators.

    field = torchtext.data.Field(lower=False)
    train, valid, test = torchtext.datasets.PennTreebank.splits(field)
    field.build_vocab(train)
    iterator = torchtext.data.BPTTIterator(train, batch_size=20, bptt_len=20)
    for span in spans(iterator, lookahead=4): ...

Its stream is not quite that of `sgrnn.data.TokenStream`: a text begins with its first token rather than with
a line end before it, and the first token of every row is never a target; instead of dropping the rest, it
fills the last rows with `<pad>`, which are inputs and targets like any other token. BPTTIterator reads the first
example of a dataset alone; here the examples of one that has several are one text, in their order.
"""

from collections.abc import Iterator
from copy import copy
from itertools import islice
from typing import TYPE_CHECKING

import torch

from sgrnn.data.streams import cut_span
from sgrnn.data.tokenizer import EOS, UNKNOWN
from sgrnn.data.vocabularies import WordTokenizer
from sgrnn.errors import InputError, at_least
from sgrnn.span import Span

if TYPE_CHECKING:
    from torchtext.data import BPTTIterator
    from torchtext.vocab import Vocab

_VERSION = "0.6.0"
_REMEDY = "install it with `python -m pip install -c constraints.txt '.[torchtext]'` where sgrnn's source is"


def spans(iterator: "BPTTIterator", lookahead: int = 0) -> Iterator[Span]:
    """Turn the batches of a BPTTIterator into spans of `bptt_len` steps.

    Args:
        iterator: with `repeat` it goes on epoch after epoch, else it is one epoch.
        lookahead: the most steps of `Span.future`, more than a batch has if need be; fewer near the end.

    Returns:
        An iterator of spans: of the first of an epoch all rows are `is_first`, of the last one `is_last`.

    Raises:
        InputError: torchtext is absent or another version, the text is too short, or lookahead is negative.
    """
    require_torchtext()
    at_least("lookahead", lookahead, 0, kind=InputError)
    iterator = _whole(iterator)
    if len(iterator) < 1:
        tokens = len(iterator.dataset[0].text)
        raise InputError(
            f"the text of the BPTTIterator is too short: its {tokens:,} tokens make {iterator.batch_size:,} "
            "rows of less than one step; give a longer text or a smaller batch_size"
        )
    return _endless(iterator, lookahead) if iterator.repeat else _epoch(iterator, lookahead)


def tokenizer_from_vocab(vocab: "Vocab") -> WordTokenizer:
    """Take over a vocabulary, with the same ids; `<pad>` becomes a word that no text holds.

    Raises:
        InputError: torchtext is absent or of another version, or the vocabulary lacks `<eos>` or `<unk>`.
    """
    require_torchtext()
    for special, remedy in (
        (EOS, "load the text with newline_eos=True"),
        (UNKNOWN, "build it with a Field that has an unk_token"),
    ):
        if special not in vocab.itos:
            raise InputError(f"the vocabulary ({len(vocab.itos):,} words) must hold {special}; {remedy}")
    return WordTokenizer(vocab.itos)


def require_torchtext() -> None:
    """Raise an error if the extra `torchtext` is not installed.

    Raises:
        InputError: torchtext is absent or of another version.
    """
    try:
        import torchtext
    except (ImportError, OSError) as error:
        raise InputError(f"this needs torchtext {_VERSION}, which cannot be imported ({error}); {_REMEDY}") from error
    if torchtext.__version__ != _VERSION:
        raise InputError(f"this needs torchtext {_VERSION}, got {torchtext.__version__}; {_REMEDY}")


def _whole(iterator: "BPTTIterator") -> "BPTTIterator":
    """Return the iterator over all examples of its dataset, put together to one."""
    from torchtext.data import Dataset

    examples = list(iterator.dataset.examples)
    if not examples or not all(hasattr(example, "text") for example in examples):
        raise InputError(
            f"the dataset of the BPTTIterator must hold examples with a field named text, got {len(examples):,} "
            "examples without it; build it with fields=[('text', field)]"
        )
    if len(examples) == 1:
        return iterator
    whole = copy(examples[0])
    whole.text = [token for example in examples for token in example.text]
    joined = copy(iterator)
    joined.dataset = Dataset([whole], list(iterator.dataset.fields.items()))
    return joined


def _endless(iterator: "BPTTIterator", lookahead: int) -> Iterator[Span]:
    while True:
        yield from _epoch(iterator, lookahead)


def _epoch(iterator: "BPTTIterator", lookahead: int) -> Iterator[Span]:
    """Yield the spans of one epoch, whose batches are put together again so that a lookahead can span several."""
    time = 1 if iterator.dataset.fields["text"].batch_first else 0
    batches = list(islice(iterator, len(iterator)))
    # The names are put on a batch when it is made; type checkers do not see them.
    pieces = [vars(batch)["text"].transpose(0, time) for batch in batches]
    inputs = torch.cat(pieces)
    targets = torch.cat([vars(batch)["target"].transpose(0, time) for batch in batches])
    end = 0
    for piece in pieces:
        first, end = end, end + len(piece)
        future_end = min(end + lookahead, len(inputs))
        yield cut_span(
            inputs[first:future_end],
            targets[first:future_end],
            end - first,
            is_first=first == 0,
            is_last=end == len(inputs),
            future_ends=future_end == len(inputs),
        )
