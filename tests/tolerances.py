"""How close is equal: one table, by precision, of relative and absolute tolerance."""

from typing import Any

import torch
from torch import Tensor

TOLERANCES = {
    torch.float64: (1e-10, 1e-12),
    torch.float32: (1e-5, 1e-6),
    torch.bfloat16: (2e-2, 1e-3),
}


def assert_close(actual: Any, expected: Any, precision: torch.dtype | None = None) -> None:
    """Tensors, or nests of them, are equal but for rounding in a precision: their own, unless another is named."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected:
            assert_close(actual[key], expected[key], precision)
    elif isinstance(expected, tuple | list):
        for one, other in zip(actual, expected, strict=True):
            assert_close(one, other, precision)
    else:
        assert isinstance(expected, Tensor)
        relative, absolute = TOLERANCES.get(precision or expected.dtype, (0.0, 0.0))
        torch.testing.assert_close(actual, expected, rtol=relative, atol=absolute)


def assert_identical(actual: Any, expected: Any) -> None:
    """Tensors, or nests of them, are equal bit for bit."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected:
            assert_identical(actual[key], expected[key])
    elif isinstance(expected, tuple | list):
        for one, other in zip(actual, expected, strict=True):
            assert_identical(one, other)
    elif isinstance(expected, Tensor):
        assert actual.dtype == expected.dtype
        assert torch.equal(actual, expected)
    else:
        assert actual == expected
