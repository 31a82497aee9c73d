"""Streams: every token once and in order, resumable by one number."""

import itertools
from pathlib import Path
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


def test_rows_one_after_another_are_the_text() -> None:
    for num_tokens, batch_size, span_steps in (
        (50, 3, 5),
        (45, 3, 5),
        (16, 1, 16),
        (17, 2, 1),
    ):
        spans = epoch_of(make(num_tokens, batch_size, span_steps))
        kept = num_tokens // batch_size * batch_size
        targets = torch.cat([span.targets for span in spans]).T.flatten().tolist()
        inputs = torch.cat([span.inputs for span in spans]).T.flatten().tolist()
        assert targets == list(range(kept))
        assert inputs == [EOS, *range(kept - 1)]


def test_an_epoch_has_the_spans_it_announces_and_marks_its_first_step_and_its_end() -> None:
    stream = make(50, 3, 5)
    assert (stream.steps_per_epoch, stream.spans_per_epoch) == (16, 4)
    spans = list(itertools.islice(stream, 8))
    assert [span.steps for span in spans] == [5, 5, 5, 1, 5, 5, 5, 1]
    for number, span in enumerate(spans):
        first = None if span.is_first is None else span.is_first.tolist()
        last = None if span.is_last is None else span.is_last.tolist()
        assert first == ([[True] * 3] + [[False] * 3] * 4 if number % 4 == 0 else None)
        assert last == ([True] * 3 if number % 4 == 3 else None)


def test_an_epoch_of_one_span_has_both_marks() -> None:
    spans = list(itertools.islice(make(9, 3, 3), 2))
    assert same(spans[0], spans[1])
    assert spans[0].is_first is not None
    assert spans[0].is_last is not None


def test_the_future_is_what_the_next_spans_hold() -> None:
    for lookahead in (0, 1, 7, 100):
        plain, spans = epoch_of(make(50, 3, 5)), epoch_of(make(50, 3, 5, lookahead=lookahead))
        for number, span in enumerate(spans):
            assert torch.equal(span.inputs, plain[number].inputs), "a lookahead changes nothing else"
            assert torch.equal(span.targets, plain[number].targets)
            later = plain[number + 1 :]
            if not later or lookahead == 0:
                assert span.future is None
                continue
            assert span.future is not None
            assert torch.equal(span.future.inputs, torch.cat([each.inputs for each in later])[:lookahead])
            assert torch.equal(span.future.targets, torch.cat([each.targets for each in later])[:lookahead])
            assert (span.future.is_last is not None) == (sum(each.steps for each in later) <= lookahead)


def test_resuming_anywhere_goes_on_the_same() -> None:
    whole = list(itertools.islice(make(lookahead=2), 12))
    for position in range(10):
        resumed, moved = make(lookahead=2, position=position), make(lookahead=2)
        moved.position = position
        for expected in whole[position:]:
            assert same(next(resumed), expected)
            assert same(next(moved), expected)
        assert resumed.position == moved.position == 12
        assert resumed.epoch == 3


def test_tensors_are_long_and_contiguous_also_of_memory_mapped_tokens(tmp_path: Path) -> None:
    np.save(tmp_path / "tokens.npy", np.arange(50, dtype=np.uint16))
    mapped = TokenStream(np.load(tmp_path / "tokens.npy", mmap_mode="r"), EOS, 3, 5, lookahead=3)
    for span, expected in zip(epoch_of(mapped), epoch_of(make(lookahead=3)), strict=True):
        assert same(span, expected)
        for part in (span, span.future) if span.future else (span,):
            for tensor in (part.inputs, part.targets):
                assert tensor.dtype == torch.long
                assert tensor.is_contiguous()


def test_a_text_too_short_names_both_numbers_and_the_remedy() -> None:
    with pytest.raises(
        InputError,
        match=r"valid is too short: its 50 tokens make 20 rows of 2 steps, fewer than the 5 of one span; "
        "give a longer text, or a smaller batch_size or shorter spans",
    ):
        make(batch_size=20, source="valid")


def test_numbers_out_of_range_are_refused() -> None:
    for name, value, least in (("batch_size", 0, 1), ("span_steps", 0, 1), ("lookahead", -1, 0), ("position", -1, 0)):
        with pytest.raises(InputError, match=f"{name} must be at least {least}, got {value}"):
            make(**{name: value})
