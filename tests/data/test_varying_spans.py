"""Spans of varying length: every token once and in order, lengths as they are said to be drawn, resumable anywhere."""

import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch

from sgrnn.data import TokenStream, VaryingSpans
from sgrnn.errors import InputError
from sgrnn.span import Span

EOS = 999


def make(seed: int = 3, lookahead: int = 0, position: int = 0, **options: Any) -> TokenStream:
    varying = VaryingSpans(12, deviation=3.0, least=4, seed=seed, **options)
    return TokenStream(np.arange(900, dtype=np.uint16), EOS, 3, 12, lookahead, position, varying=varying)


def read(span: Span) -> tuple[Any, ...]:
    future = None if span.future is None else read(span.future)
    marks = [None if mark is None else mark.tolist() for mark in (span.is_first, span.is_last)]
    return span.inputs.tolist(), span.targets.tolist(), *marks, future


def pass_of(stream: TokenStream) -> list[Span]:
    spans = [next(stream)]
    while spans[-1].is_last is None:
        spans.append(next(stream))
    return spans


def test_a_pass_is_the_text_and_no_two_are_cut_alike() -> None:
    stream, cuts = make(), set()
    for _ in range(5):
        spans = pass_of(stream)
        assert torch.cat([span.targets for span in spans]).T.flatten().tolist() == list(range(900))
        assert torch.cat([span.inputs for span in spans]).T.flatten().tolist() == [EOS, *range(899)]
        assert [span.is_first is not None for span in spans] == [True] + [False] * (len(spans) - 1)
        cuts.add(tuple(span.steps for span in spans))
    assert len(cuts) == 5
    assert all(min(lengths[:-1]) >= 4 for lengths in cuts)
    assert len({len(lengths) for lengths in cuts}) > 1


def test_lengths_are_a_function_of_seed_and_number() -> None:
    whole = [read(span) for span in itertools.islice(make(lookahead=5), 90)]
    moved = make(lookahead=5)
    for position in (80, 3, 79, 0, 41):
        resumed = make(lookahead=5, position=position)
        moved.position = position
        assert [read(span) for span in itertools.islice(resumed, 9)] == whole[position : position + 9]
        assert [read(span) for span in itertools.islice(moved, 9)] == whole[position : position + 9]
    assert whole != [read(span) for span in itertools.islice(make(seed=4, lookahead=5), 90)]


def test_the_future_is_what_the_next_spans_hold() -> None:
    plain, ahead = pass_of(make()), pass_of(make(lookahead=20))
    for number, span in enumerate(ahead):
        assert torch.equal(span.targets, plain[number].targets)
        later = plain[number + 1 :]
        assert (span.future is None) == (not later)
        if span.future is not None:
            assert torch.equal(span.future.targets, torch.cat([each.targets for each in later])[:20])


def test_lengths_are_drawn_as_in_the_paper() -> None:
    """`seq_len = max(5, int(normal(bptt if random() < 0.95 else bptt / 2, 5)))`, a hundred thousand of each."""
    draw, number = random.Random(0), 100_000
    theirs = np.array([max(5, int(draw.gauss(70 if draw.random() < 0.95 else 35, 5))) for _ in range(number)])
    spans = VaryingSpans(70)
    limits = [spans.limits(position, steps=10**8) for position in range(number)]
    ours = np.array([end - first for first, end in limits])
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.2)
    assert ours.mean() == pytest.approx(spans.mean, abs=0.1)
    assert (ours < 52).mean() == pytest.approx(0.05, abs=0.004)
    assert np.quantile(ours, [0.01, 0.1, 0.5, 0.9, 0.99]) == pytest.approx(
        np.quantile(theirs, [0.01, 0.1, 0.5, 0.9, 0.99]), abs=1
    )
    clipped = VaryingSpans(6)
    ours = np.diff([clipped.limits(position, steps=10**6)[1] for position in range(20_000)])
    assert ours.min() == 5
    assert ours.mean() == pytest.approx(clipped.mean, abs=0.05)


def test_an_epoch_has_as_many_spans_as_a_pass_on_average() -> None:
    stream = make()
    passes = [len(pass_of(stream)) for _ in range(200)]
    assert stream.spans_per_epoch == pytest.approx(np.mean(passes), abs=1)


def test_numbers_out_of_range_are_refused() -> None:
    for options, message in (
        ({"base": 0}, "base must be at least 1, got 0"),
        ({"base": 4}, "least must be at most base, 4, got 5"),
        ({"base": 9, "least": 0}, "least must be at least 1, got 0"),
        ({"base": 9, "base_probability": 1.5}, r"base_probability must be in \[0, 1\], got 1.5"),
        ({"base": 9, "deviation": 0}, "deviation must be above 0 and at most 100 times base, 9, got 0"),
        ({"base": 9, "deviation": 1e300}, r"deviation must be above 0 and at most 100 times base, 9, got 1e\+300"),
    ):
        with pytest.raises(InputError, match=message):
            VaryingSpans(**options)
