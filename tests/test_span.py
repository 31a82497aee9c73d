"""Spans refuse what does not fit together, and are sliced and joined without losing a mark."""

from itertools import pairwise, product
from typing import Any

import pytest
import torch
from tolerances import assert_identical
from torch import Tensor

from sgrnn.span import Span

ROWS = 3


def ints(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.long)


def marked_span(seed: int, steps: int = 6, first: int = 0, future: Span | None = None) -> Span:
    """Every input another number; some rows begin in the midst, some end."""
    generator = torch.Generator().manual_seed(seed)
    numbers = first + torch.arange(steps * ROWS).view(steps, ROWS)
    is_first = torch.rand(steps, ROWS, generator=generator) < 0.2
    return Span(numbers, -numbers, is_first, torch.rand(ROWS, generator=generator) < 0.5, future)


def assert_same_span(found: Span | None, expected: Span | None) -> None:
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert_identical([found.inputs, found.targets], [expected.inputs, expected.targets])
        assert_identical([found.marked_first(), found.is_last], [expected.marked_first(), expected.is_last])
        assert_same_span(found.future, expected.future)


def test_steps_and_rows_are_the_first_two_sizes() -> None:
    span = Span(torch.zeros(5, 3, 7), ints(5, 3))
    assert (span.steps, span.batch_size) == (5, 3)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (ints(5), {}, r"inputs must be \(steps, rows, ...\) with steps >= 1, got \(5,\)"),
        (ints(5, 0), {}, r"inputs must be \(steps, rows, ...\) with rows >= 1, got \(5, 0\)"),
        (ints(5, 3), {"targets": ints(4, 3, 2)}, r"targets must begin with \(5, 3\) like inputs, got \(4, 3\)"),
        (ints(5, 3), {"is_first": ints(5).bool()}, r"is_first must begin with \(5, 3\) like inputs, got \(5,\)"),
        (ints(5, 3), {"is_last": ints(5).bool()}, r"is_last must begin with \(3,\) like inputs, got \(5,\)"),
        (ints(5, 3), {"is_last": ints(3)}, "is_last must be bool, got torch.int64"),
        (ints(5, 3), {"mask": ints(5, 2).bool()}, r"mask must begin with \(5, 3\) like inputs, got \(5, 2\)"),
        (ints(5, 3), {"mask": ints(5, 3)}, "mask must be bool, got torch.int64"),
        (
            ints(5, 3),
            {"future": Span((ints(2, 3), ints(2, 3)), ints(2, 3))},
            "future.inputs must hold as many tensors as inputs, 1, got 2",
        ),
        (ints(5, 3), {"future": Span(ints(2, 4), ints(2, 4))}, "future must have 3 rows, got 4"),
        (
            ints(5, 3),
            {"future": Span(ints(2, 3).float(), ints(2, 3))},
            r"future.inputs must be of the kind of inputs, steps of \(3,\) in torch.int64, got \(3,\) in torch.float32",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(inputs: Tensor, options: dict[str, Any], message: str) -> None:
    targets = options.get("targets", inputs)
    with pytest.raises(ValueError, match=f"^{message}$"):
        Span(**{"inputs": inputs, "targets": targets} | options)


@pytest.mark.parametrize(
    ("name", "given", "kind"),
    [
        ("is_first", ints(5, 3).bool().numpy(), "Tensor, got a ndarray"),
        ("is_last", [True] * 3, "Tensor, got a list"),
        ("mask", ints(5, 3).bool().tolist(), "Tensor, got a list"),
        ("future", (ints(2, 3), ints(2, 3)), "Span, got a tuple"),
    ],
)
def test_marks_that_are_no_tensors_and_a_future_that_is_no_span_are_refused(name: str, given: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be a {kind}$"):
        Span(ints(5, 3), ints(5, 3), **{name: given})


@pytest.mark.parametrize(
    ("inputs", "kind"), [([[1, 2], [3, 4]], "list"), ((), "tuple"), (ints(5, 3).numpy(), "ndarray")]
)
def test_what_holds_no_tensors_is_refused(inputs: Any, kind: str) -> None:
    with pytest.raises(
        TypeError, match=rf"^inputs must be a tensor \(steps, rows, ...\), .* or dict of such, got a {kind}$"
    ):
        Span(inputs, ints(5, 3))


def test_a_move_and_a_choice_of_rows_take_everything_along() -> None:
    span = marked_span(0, future=marked_span(1))
    moved = span.to(torch.device("meta"))
    for part, original in ((moved, span), (moved.future, span.future)):
        for name in ("inputs", "targets", "is_first", "is_last"):
            tensor, before = getattr(part, name), getattr(original, name)
            assert tensor.is_meta
            assert (tensor.shape, tensor.dtype) == (before.shape, before.dtype)
    chosen = span.rows(1, 3)
    for part, original in ((chosen, span), (chosen.future, span.future)):
        assert part is not None
        assert original is not None
        assert original.is_first is not None
        assert original.is_last is not None
        assert_identical([part.inputs, part.targets], [original.inputs[:, 1:], original.targets[:, 1:]])
        assert_identical([part.is_first, part.is_last], [original.is_first[:, 1:], original.is_last[1:]])


def test_what_follows_a_slice_in_the_span_is_its_future() -> None:
    span = marked_span(3, future=marked_span(4, first=100))
    assert span.is_first is not None
    for (start, stop), lookahead in product([(0, 2), (2, 4), (1, 5), (3, 6), (0, 6)], [None, 0, 2]):
        part = span.slice(start, stop, lookahead)
        assert_identical([part.inputs, part.targets], [span.inputs[start:stop], span.targets[start:stop]])
        assert_identical(part.marked_first(), span.is_first[start:stop])
        if stop == span.steps:
            assert part.is_last is span.is_last
            assert part.future is span.future
            continue
        end = span.steps if lookahead is None else min(stop + lookahead, span.steps)
        assert (part.future is None) == (end == stop)
        ended = span.is_first[stop] if part.future is None else torch.tensor([False])
        assert_identical(part.is_last, ended if ended.any() else None)
        if part.future is not None:
            assert_identical(part.future.inputs, span.inputs[stop:end])
            assert_identical(part.future.marked_first(), span.is_first[stop:end])
            assert part.future.future is None


def test_slices_that_are_joined_are_the_span() -> None:
    for seed, edges in product(range(5), ([0, 6], [0, 2, 4, 6], [0, 1, 5, 6])):
        span = marked_span(seed, future=marked_span(seed + 10, first=100))
        assert_same_span(Span.join([span.slice(start, stop) for start, stop in pairwise(edges)]), span)


def test_where_a_joined_span_ends_the_next_begins() -> None:
    numbers = ints(2, ROWS)
    ended = torch.tensor([True, False, True])
    first, second = Span(numbers, numbers, is_last=ended), Span(numbers, numbers, is_last=~ended)
    joined = Span.join([first, second])
    assert joined.marked_first().tolist() == [[False] * 3, [False] * 3, [True, False, True], [False] * 3]
    assert_identical(joined.is_last, ~ended)
    assert first.is_first is None
    assert Span.join([Span(numbers, numbers)] * 2).is_first is None


def test_rows_go_on_where_no_sequence_begins_or_ends() -> None:
    for seed in range(8):
        future = None if seed % 2 else marked_span(seed + 20, first=100)
        span, edges = marked_span(seed, future=future), [1, 2, 4, 6]
        assert span.is_first is not None
        assert span.is_last is not None
        expected = []
        for edge in edges:
            for row in range(ROWS):
                if edge < span.steps:
                    expected.append(not span.is_first[edge, row])
                else:
                    begins = future is not None and future.is_first is not None and bool(future.is_first[0, row])
                    expected.append(not span.is_last[row] and not begins)
        continuing = span.continuing(edges)
        assert continuing is not None
        assert continuing.tolist() == expected


def test_windows_are_unbroken_where_no_sequence_begins_after_their_first_step() -> None:
    span = Span(ints(6, ROWS), ints(6, ROWS), ints(6, ROWS).bool())
    assert span.is_first is not None
    assert span.unbroken([0, 2, 4, 6]) is None
    span.is_first[2, 0] = True  # a window's own first step
    assert span.unbroken([0, 2, 4, 6]) is None
    span.is_first[3, 1] = span.is_first[5, 2] = True
    unbroken = span.unbroken([0, 2, 4, 6])
    assert unbroken is not None
    assert unbroken.flatten().tolist() == [True, True, True, True, False, True, True, True, False]
    assert unbroken.shape == (9, 1)


def test_padding_is_no_step_of_a_sequence() -> None:
    numbers = torch.arange(6 * ROWS).view(6, ROWS)
    is_first, mask = ints(6, ROWS).bool(), torch.ones(6, ROWS, dtype=torch.bool)
    mask[4:, 0] = mask[2:4, 1] = False
    is_first[4, 1] = True
    span = Span({"x": numbers}, (numbers, [numbers]), is_first, mask=mask)
    assert span.size == 6 * ROWS - 4
    continuing = span.continuing([0, 2, 4, 6])
    assert continuing is not None
    yes, no = True, False
    assert continuing.view(4, ROWS).tolist() == [[yes, yes, yes], [yes, no, yes], [no, no, yes], [no, yes, yes]]
    for part in (Span.join(span.divide(4)), span.to("cpu"), span.rows(0, 9), span.slice(0, 6)):
        assert_identical([part.mask, part.marked_first()], [mask, is_first])
        assert_identical([part.inputs, part.targets], [span.inputs, span.targets])
    assert_identical(span.rows(1, 3).mask, mask[:, 1:])
    assert_identical(span.slice(0, 4, 0).is_last, torch.tensor([yes, yes, no]))
    assert Span(numbers, numbers, mask=~mask & mask).size == 1, "never 0, which nothing can be divided by"


def test_without_marks_all_rows_go_on_unbroken() -> None:
    span = Span(ints(4, ROWS), ints(4, ROWS), future=Span(ints(2, ROWS), ints(2, ROWS)))
    assert (span.continuing([0, 2, 4]), span.unbroken([0, 2, 4])) == (None, None)
