"""Learning-rate schedules against tables written by hand."""

import pytest

from sgrnn.config import Constant, Cosine, Plateau, Restarts, StepDecay
from sgrnn.config.rates import rate_factor


@pytest.mark.parametrize(
    ("schedule", "epochs", "table"),
    [
        (Constant(), 3, {0: 1, 1.7: 1, 3: 1}),
        (StepDecay(factor=0.5, after=4), 13, {0: 1, 3.99: 1, 4: 0.5, 4.5: 0.5, 5: 0.25, 6.01: 0.125, 12.9: 0.5**9}),
        (StepDecay(factor=0.1, after=2, every=3), 9, {1.99: 1, 2: 0.1, 4.99: 0.1, 5: 0.01, 7.5: 0.01, 8: 0.001}),
        (StepDecay(factor=0.5, after=0, every=2), 9, {0: 0.5, 1.99: 0.5, 2: 0.25}),
        (Cosine(), 4, {0: 1, 1: 0.8535534, 2: 0.5, 3: 0.1464466, 4: 0, 5: 0}),
        (Cosine(floor=0.2), 4, {0: 1, 2: 0.6, 4: 0.2, 9: 0.2}),
        (Cosine(warmup=1), 5, {0: 0, 0.25: 0.25, 1: 1, 2: 0.8535534, 3: 0.5, 5: 0}),
        (Cosine(warmup=0.5, floor=0.5), 1, {0.25: 0.5, 0.5: 1, 0.75: 0.75, 1: 0.5}),
        (Restarts(period=2), 5, {0: 1, 1: 0.5, 1.5: 0.1464466, 2: 1, 3: 0.5, 4: 1}),
        (Restarts(period=1, growth=2, floor=0.1), 7, {0: 1, 0.5: 0.55, 1: 1, 2: 0.55, 3: 1, 5: 0.55, 7: 1}),
        (Cosine(warmup=2), 1, {0: 0, 0.5: 0.25, 1: 0.5}),
    ],
)  # fmt: skip
def test_schedules_of_the_clock(
    schedule: Constant | StepDecay | Cosine | Restarts, epochs: int, table: dict[float, float]
) -> None:
    found = {epoch: rate_factor(schedule, epoch, epochs, [3.0, 4.0, 5.0]) for epoch in table}
    assert found == pytest.approx(table, abs=1e-7)


@pytest.mark.parametrize(
    ("patience", "losses", "expected"),
    [
        (1, [], 1),
        (1, [3], 1),
        (1, [3, 2, 1], 1),
        (1, [3, 3], 0.1),
        (1, [3, 2, 2.5, 2.4], 0.01),
        (1, [3, 2, 2.5, 1.9], 0.1),
        (1, [3, 2, 2.5, 1.9, 1.9], 0.01),
        (2, [3, 3.1], 1),
        (2, [3, 3.1, 3.2], 0.1),
        (2, [3, 3.1, 2.9, 3, 2.8], 1),
        (2, [3, 3.1, 3.2, 3.3, 3.4], 0.01),
        (2, [3, 3.1, 3.2, 3.3, 2.9, 3], 0.1),
    ],
)
def test_plateaus_of_the_validation_loss(patience: int, losses: list[float], expected: float) -> None:
    schedule = Plateau(factor=0.1, patience=patience)
    for epoch in (0.0, 5.5):
        assert rate_factor(schedule, epoch, 3, losses) == pytest.approx(expected)
