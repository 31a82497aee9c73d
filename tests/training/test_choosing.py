"""How settings are chosen by trying a few: the best is found inside, past either end, and never out of range."""

from itertools import product
from math import inf, log, nan

import pytest

from sgrnn.errors import InputError
from sgrnn.models.dynamic import DynamicEvaluation
from sgrnn.training.choosing import RMS_GRID, Tried, for_windows, walk

GRID = {"rate": (1.0, 2.0, 4.0), "decay": (0.0, 1.0, 3.0)}


def far(best: dict[str, float], settings: dict[str, float]) -> float:
    """Return how far settings lie from the best, rates by their logarithms."""
    return abs(log(settings["rate"] / best["rate"])) + abs(settings["decay"] - best["decay"])


def tried(best: dict[str, float]) -> list[Tried]:
    return list(walk(lambda settings: far(best, settings), GRID))


@pytest.mark.parametrize("rate", [0.25, 1.0, 2.0, 4.0, 16.0])
@pytest.mark.parametrize("decay", [0.0, 1.0, 3.0, 9.0])
def test_the_best_is_found_wherever_it_lies(rate: float, decay: float) -> None:
    all_of_it = tried({"rate": rate, "decay": decay})
    assert min(all_of_it, key=lambda each: each.loss).settings == {"rate": rate, "decay": decay}
    assert len({tuple(each.settings.values()) for each in all_of_it}) == len(all_of_it), "nothing is tried twice"
    assert len(all_of_it) <= 3 + 3 + 2 + 2


def test_nobody_goes_past_an_end_for_ever() -> None:
    rates = {each.settings["rate"] for each in walk(lambda settings: -settings["rate"], GRID)}
    assert rates == {1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0}


def test_nothing_lies_beyond_zero_or_a_single_value() -> None:
    assert {each.settings["decay"] for each in tried({"rate": 2.0, "decay": 0.0})} == {0.0, 1.0, 3.0}
    assert [each.settings for each in walk(lambda settings: settings["rate"], {"rate": (5.0,)})] == [{"rate": 5.0}]


def test_what_is_refused_beyond_ends_the_walk_and_in_the_grid_is_told() -> None:
    def bounded(settings: dict[str, float]) -> float:
        if settings["decay"] > limit:
            raise InputError(f"decay must be at most {limit}")
        return far({"rate": 2.0, "decay": 99.0}, settings)

    limit = 3.0
    assert max(each.settings["decay"] for each in walk(bounded, GRID)) == 3.0
    limit = 2.0
    with pytest.raises(InputError, match="at most 2"):
        list(walk(bounded, GRID))


def test_what_diverges_is_neither_best_nor_a_way_to_go() -> None:
    losses = {1.0: 5.0, 2.0: nan, 4.0: inf}
    found = walk(lambda settings: losses.get(settings["rate"], 7.0), {"rate": (1.0, 2.0, 4.0)})
    assert [each.settings["rate"] for each in found] == [1.0, 2.0, 4.0, 0.5]
    steep = walk(lambda settings: inf if settings["rate"] > 0.3 else far({"rate": 0.2, "decay": 1.0}, settings), GRID)
    assert min(steep, key=lambda each: each.loss).settings == {"rate": 0.25, "decay": 1.0}
    hopeless = [each.settings["rate"] for each in walk(lambda settings: nan, GRID)]
    assert hopeless == [1.0, 2.0, 4.0, 0.5, 0.25, 0.125, 0.0625], "and no decay"


def test_a_grid_for_long_windows_is_in_proportion_and_its_decay_can_be_had() -> None:
    assert for_windows(RMS_GRID, 10) == {"learning_rate": (4e-5, 1e-4, 2e-4), "decay": (2e-3, 4e-3, 1e-2)}
    for window in (1000, 100_000):
        grid = for_windows(RMS_GRID, window)
        for rate, decay in product(grid["learning_rate"], grid["decay"]):
            DynamicEvaluation(rate, decay, window)
