"""Operator calls are counted, those inside others too, and do not creep back."""

import pytest
import torch
from calls import Stream
from updates import operator_calls


def test_a_call_within_a_call_counts() -> None:
    one, other = torch.ones(2, 2), torch.ones(2, 2)
    assert operator_calls(lambda: one * other) == 1
    assert operator_calls(one.flatten) == 2, "flatten, and the view that it is"


@pytest.mark.parametrize(("kind", "most"), [("truncated", 400), ("synthetic", 1000)])
def test_a_step_of_a_stream_takes_no_more_calls_than_it_did(kind: str, most: int) -> None:
    assert 100 < operator_calls(Stream(kind)) <= most
