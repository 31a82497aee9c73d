"""A state that was handed out is known by its values, row by row, counters and NaN among them."""

import torch

from sgrnn.estimators.handed_out import HandedOut
from sgrnn.state import map_state


def test_rows_with_other_values_are_told_and_counters_count() -> None:
    state = (torch.randn(2, 3, 4), torch.arange(3).view(3, 1))
    state[0][1, 2, 3] = torch.nan
    handed = HandedOut.of(state)
    assert handed.is_it(map_state(torch.clone, state))
    assert handed.other_rows(map_state(torch.clone, state)) is None
    state[1][0] = 7
    assert not handed.is_it(state)
    assert handed.other_rows(state).tolist() == [True, False, False]  # pyright: ignore
    state[0].data[1, 1] = 0
    assert handed.other_rows(state).tolist() == [True, True, False]  # pyright: ignore


def test_of_nothing_and_of_another_shape_no_row_is_told() -> None:
    state = torch.zeros(3, 4)
    assert HandedOut().other_rows(state) is None
    assert HandedOut.of(torch.zeros(2, 4)).other_rows(state) is None
    assert not HandedOut().is_it(state)
