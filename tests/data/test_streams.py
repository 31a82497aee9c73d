"""Streams: every token once and in order, resumable by one number."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from sgrnn.data import TokenStream
from sgrnn.errors import InputError
from sgrnn.span import Span

EOS = 99


def make(num_tokens: int = 50, batch_size: int = 3, span_steps: int = 5, **options: Any) -> TokenStream:
    return TokenStream(np.arange(num_tokens, dtype=np.uint16), EOS, batch_size, span_steps, **options)


def epoch_of(stream: TokenStream) -> list[Span]:
    return list(itertools.islice(stream, stream.spans_per_epoch))


def same(first: Span | None, second: Span | None) -> bool:
    if first is None or second is None:
        return first is second
    for name in ("inputs", "targets", "is_first", "is_last"):
        one, other = getattr(first, name), getattr(second, name)
        if (one is None) != (other is None) or (one is not None and not torch.equal(one, other)):
            return False
    return same(first.future, second.future)


@pytest.mark.parametrize(
    ("num_tokens", "batch_size", "span_steps"), [(50, 3, 5), (45, 3, 5), (16, 1, 16), (17, 2, 1), (9, 3, 3)]
)
def test_rows_one_after_another_are_the_text(num_tokens: int, batch_size: int, span_steps: int) -> None:
    spans = epoch_of(make(num_tokens, batch_size, span_steps))
    kept = num_tokens // batch_size * batch_size
    targets = torch.cat([span.targets for span in spans]).T.flatten().tolist()
    inputs = torch.cat([span.inputs for span in spans]).T.flatten().tolist()
    assert targets == list(range(kept))
    assert inputs == [EOS, *range(kept - 1)]


def test_an_epoch_has_the_spans_it_announces_and_only_the_last_is_shorter() -> None:
    stream = make(50, 3, 5)
    assert (stream.steps_per_epoch, stream.spans_per_epoch) == (16, 4)
    assert [span.steps for span in itertools.islice(stream, 8)] == [5, 5, 5, 1, 5, 5, 5, 1]


def test_only_the_first_span_starts_the_rows_and_only_the_last_ends_them() -> None:
    spans = list(itertools.islice(make(50, 3, 5), 8))
    for number, span in enumerate(spans):
        if number % 4 == 0:
            assert span.is_first is not None
            assert span.is_first.tolist() == [[True] * 3] + [[False] * 3] * 4
        else:
            assert span.is_first is None
        if number % 4 == 3:
            assert span.is_last is not None
            assert span.is_last.tolist() == [True] * 3
        else:
            assert span.is_last is None


def test_an_epoch_of_one_span_both_starts_and_ends() -> None:
    spans = list(itertools.islice(make(9, 3, 3), 2))
    assert same(spans[0], spans[1])
    assert spans[0].is_first is not None
    assert spans[0].is_last is not None


@pytest.mark.parametrize("lookahead", [1, 3, 7, 100])
def test_the_future_is_what_the_next_spans_hold(lookahead: int) -> None:
    spans = epoch_of(make(50, 3, 5, lookahead=lookahead))
    for number, span in enumerate(spans[:-1]):
        inputs = torch.cat([later.inputs for later in spans[number + 1 :]])[:lookahead]
        targets = torch.cat([later.targets for later in spans[number + 1 :]])[:lookahead]
        assert span.future is not None
        assert torch.equal(span.future.inputs, inputs)
        assert torch.equal(span.future.targets, targets)
        reaches_end = sum(later.steps for later in spans[number + 1 :]) <= lookahead
        assert (span.future.is_last is not None) == reaches_end
    assert spans[-1].future is None


def test_without_lookahead_there_is_no_future() -> None:
    assert all(span.future is None for span in epoch_of(make()))


def test_lookahead_changes_nothing_else() -> None:
    for plain, ahead in zip(epoch_of(make()), epoch_of(make(lookahead=4)), strict=True):
        assert torch.equal(plain.inputs, ahead.inputs)
        assert torch.equal(plain.targets, ahead.targets)


@pytest.mark.parametrize("position", range(10))
def test_resuming_anywhere_goes_on_the_same(position: int) -> None:
    whole = list(itertools.islice(make(lookahead=2), 12))
    resumed = make(lookahead=2, position=position)
    moved = make(lookahead=2)
    moved.position = position
    for expected in whole[position:]:
        assert same(next(resumed), expected)
        assert same(next(moved), expected)
    assert resumed.position == moved.position == 12
    assert resumed.epoch == 3


def test_tensors_are_long_time_first_and_contiguous() -> None:
    for span in epoch_of(make(lookahead=3)):
        tensors = [span.inputs, span.targets]
        if span.future is not None:
            tensors += [span.future.inputs, span.future.targets]
        for tensor in tensors:
            assert tensor.dtype == torch.long
            assert tensor.is_contiguous()
            assert tensor.shape[1] == 3


def test_the_tokens_may_be_memory_mapped(tmp_path: Any) -> None:
    path = tmp_path / "tokens.npy"
    np.save(path, np.arange(50, dtype=np.uint16))
    mapped = TokenStream(np.load(path, mmap_mode="r"), EOS, 3, 5)
    assert all(same(one, other) for one, other in zip(epoch_of(mapped), epoch_of(make()), strict=True))


def test_a_text_too_short_names_both_numbers_and_the_remedy() -> None:
    with pytest.raises(
        InputError,
        match=r"valid is too short: its 50 tokens make 20 rows of 2 steps, fewer than the 5 of one span; "
        "give a longer text, or a smaller batch_size or span_steps",
    ):
        make(batch_size=20, source="valid")


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("batch_size", 0, 1), ("span_steps", 0, 1), ("lookahead", -1, 0), ("position", -1, 0)],
)
def test_numbers_out_of_range_are_refused(name: str, value: int, least: int) -> None:
    with pytest.raises(InputError, match=f"{name} must be at least {least}, got {value}"):
        make(**{name: value})
