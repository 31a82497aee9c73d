"""Schedules against tables written by hand."""

from collections.abc import Callable
from math import cos, pi

import pytest

from sgrnn.estimators.schedules import Alternate, Bernoulli, Constant, Ramp, Schedule, WarmRestarts


@pytest.mark.parametrize(
    ("schedule", "table"),
    [
        (Constant(0.3), {0: 0.3, 7.5: 0.3}),
        (Alternate(WarmRestarts(1, 2)), {0: 0, 1: 1, 2: 1, 3: 0, 4: 0, 5: 0, 6: 0, 7: 1, 14: 1, 15: 0}),
        (Alternate(WarmRestarts(2, 3), first=1.0), {0: 1, 1.99: 1, 2: 0, 7.99: 0, 8: 1, 25.9: 1, 26: 0}),
        (Ramp(start=2, stop=4, before=1.0, after=0.5), {0: 1, 2: 1, 3: 0.75, 4: 0.5, 9: 0.5}),
        (Ramp(stop=4, shape="cosine"), {0: 0, 1: 0.1464466, 2: 0.5, 3: 0.8535534, 4: 1}),
        (Bernoulli(0.0), dict.fromkeys(range(50), 0)),
        (Bernoulli(1.0), dict.fromkeys(range(50), 1)),
    ],
    ids=str,
)
def test_the_share_at_each_time(schedule: Schedule, table: dict[float, float]) -> None:
    assert {time: schedule(time) for time in table} == pytest.approx(table, abs=1e-7)


def test_chance_has_its_probability_and_gives_the_same_at_the_same_time() -> None:
    for probability in (0.1, 0.5):
        chance = Bernoulli(probability, seed=3)
        drawn = [chance(time) for time in range(1000)]
        assert set(drawn) == {0.0, 1.0}
        assert abs(sum(drawn) / 1000 - probability) < 4 * (probability * (1 - probability) / 1000) ** 0.5
        assert [chance(float(time)) for time in reversed(range(1000))] == drawn[::-1]
        assert [Bernoulli(probability, seed=4)(time) for time in range(1000)] != drawn


@pytest.mark.parametrize(("period", "growth"), [(5, 1), (0.3, 1.1)])
def test_a_restarted_cosine_follows_the_published_formula(period: float, growth: float) -> None:
    """eta = eta_min + (eta_max - eta_min)(1 + cos(pi T_cur / T_i)) / 2, T_i = T_0 T_mult^i (SGDR, section 3)."""
    cycles, floor = WarmRestarts(period, growth), 0.01
    start = 0.0
    for number in range(5):
        length = period * growth**number
        for part in (0.0, 0.25, 0.75, 0.999):
            expected = floor + (1 - floor) * (1 + cos(pi * part)) / 2
            assert cycles.annealed(start + part * length, floor) == pytest.approx(expected)
            assert cycles.position(start + part * length) == pytest.approx((number, part))
        start += length


def test_restarts_come_at_their_update_whatever_a_period_is_in_binary() -> None:
    for period, updates_per_epoch, growth in [(0.1, 1000, 1), (0.1, 100, 2), (0.3, 100, 1), (0.7, 30, 2)]:
        length = round(period * updates_per_epoch)
        cycles, start, expected = WarmRestarts(period, growth), 0, length
        for number in range(6):
            for update in (start, start + 1, start + expected - 1):
                position, passed = cycles.position(update / updates_per_epoch)
                assert position == number
                assert passed == pytest.approx((update - start) / expected, abs=1e-6)
            start, expected = start + expected, expected * growth


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(1.1), r"share must be in \[0, 1\], got 1.1"),
        (lambda: WarmRestarts(0), "period must be above 0, got 0"),
        (lambda: WarmRestarts(1, 0.5), "growth must be at least 1, got 0.5"),
        (lambda: Alternate(WarmRestarts(1), first=-1), r"first must be in \[0, 1\], got -1"),
        (lambda: Ramp(stop=2, start=2), "stop must be above start, 2, got 2"),
        (lambda: Ramp(stop=2, before=2), r"before must be in \[0, 1\], got 2"),
        (lambda: Ramp(stop=2, shape="round"), "shape must be linear or cosine, got 'round'"),
        (lambda: Bernoulli(1.5), r"probability must be in \[0, 1\], got 1.5"),
    ],
)
def test_what_contradicts_itself_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
