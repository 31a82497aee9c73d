"""Spans refuse what does not fit together, and say what would."""

from typing import Any

import pytest
import torch
from tolerances import assert_identical

from sgrnn.span import Span


def ints(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.long)


def test_steps_and_rows_are_the_first_two_sizes() -> None:
    span = Span(torch.zeros(5, 3, 7), ints(5, 3))
    assert (span.steps, span.batch_size) == (5, 3)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (ints(5), {}, r"inputs must be \(steps, rows, ...\) with steps >= 1, got \(5,\)"),
        (ints(0, 3), {}, r"inputs must be \(steps, rows, ...\) with steps >= 1, got \(0, 3\)"),
        (ints(5, 3), {"targets": ints(5, 2)}, r"targets must begin with \(5, 3\) like inputs, got \(5, 2\)"),
        (ints(5, 3), {"targets": ints(4, 3, 2)}, r"targets must begin with \(5, 3\) like inputs, got \(4, 3\)"),
        (ints(5, 3), {"is_first": ints(4, 3).bool()}, r"is_first must begin with \(5, 3\) like inputs, got \(4, 3\)"),
        (ints(5, 3), {"is_first": ints(5).bool()}, r"is_first must begin with \(5, 3\) like inputs, got \(5,\)"),
        (ints(5, 3), {"is_last": ints(5).bool()}, r"is_last must begin with \(3,\) like inputs, got \(5,\)"),
        (ints(5, 3), {"future": Span(ints(2, 4), ints(2, 4))}, "future must have 3 rows, got 4"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(inputs: torch.Tensor, options: dict[str, Any], message: str) -> None:
    targets = options.pop("targets", inputs)
    with pytest.raises(ValueError, match=f"^{message}$"):
        Span(inputs, targets, **options)


def test_a_move_to_another_device_takes_everything_along() -> None:
    is_first, is_last = torch.ones(5, 3, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    span = Span(ints(5, 3), ints(5, 3), is_first, is_last, future=Span(ints(2, 3), ints(2, 3)))
    moved = span.to(torch.device("meta"))
    assert moved.future is not None
    for part, original in ((moved, span), (moved.future, span.future)):
        assert original is not None
        for name in ("inputs", "targets", "is_first", "is_last"):
            tensor, before = getattr(part, name), getattr(original, name)
            assert (tensor is None) == (before is None)
            assert tensor is None or (tensor.is_meta and tensor.shape == before.shape and tensor.dtype == before.dtype)
    same = span.to(torch.device("cpu"))
    assert_identical([same.inputs, same.is_first], [span.inputs, span.is_first])
