"""Learning-rate schedules against tables written by hand."""

from math import cos, pi, sqrt

import pytest
import torch
from recipe_texts import text_recipe

from sgrnn.config.optimization import (
    ConstantRateConfig,
    CosineConfig,
    OneCycleConfig,
    PlateauConfig,
    ScheduleConfig,
    StepDecayConfig,
    WarmRestartsConfig,
)
from sgrnn.config.rates import rate_factor, rate_jump

CLOCKS: list[tuple[ScheduleConfig, int, dict[float, float]]] = [
    (ConstantRateConfig(), 3, {0: 1, 1.7: 1, 3: 1}),
    (StepDecayConfig(factor=0.5, after=4), 13, {0: 1, 3.99: 1, 4: 0.5, 4.5: 0.5, 5: 0.25, 12.9: 0.5**9}),
    (StepDecayConfig(factor=0.1, after=2, every=3), 9, {1.99: 1, 2: 0.1, 4.99: 0.1, 5: 0.01, 7.5: 0.01, 8: 0.001}),
    (CosineConfig(), 4, {0: 1, 1: 0.8535534, 2: 0.5, 3: 0.1464466, 4: 0, 5: 0}),
    (CosineConfig(floor=0.2), 4, {0: 1, 2: 0.6, 4: 0.2, 9: 0.2}),
    (CosineConfig(warmup=1), 5, {0: 0, 0.25: 0.25, 1: 1, 2: 0.8535534, 3: 0.5, 5: 0}),
    (CosineConfig(warmup=0.5, floor=0.5), 1, {0.25: 0.5, 0.5: 1, 0.75: 0.75, 1: 0.5}),
    (WarmRestartsConfig(period=2), 5, {0: 1, 1: 0.5, 1.5: 0.1464466, 2: 1, 3: 0.5, 4: 1}),
    (WarmRestartsConfig(period=1, growth=2, floor=0.1), 7, {0: 1, 0.5: 0.55, 1: 1, 2: 0.55, 3: 1, 5: 0.55, 7: 1}),
    (CosineConfig(warmup=2), 1, {0: 0, 0.5: 0.25, 1: 0.5}),
    (OneCycleConfig(rise=0.25, start=0.2, floor=0.1), 8, {0: 0.2, 1: 0.6, 2: 1, 5: 0.55, 8: 0.1, 9: 0.1}),
]


def test_schedules_of_the_clock() -> None:
    for schedule, epochs, table in CLOCKS:
        factors = {epoch: rate_factor(schedule, epoch, epochs, [3.0, 4.0, 5.0]) for epoch in table}
        assert factors == pytest.approx(table, abs=1e-7), schedule


def test_one_cycle_is_that_of_torch() -> None:
    updates, rise = 80, 0.3
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=2.0,
        total_steps=updates + 1,
        pct_start=(rise * updates + 1) / (updates + 1),
        div_factor=10,
        final_div_factor=1000,
        cycle_momentum=False,
    )  # whose rises end a step before its shares of all steps do
    ours = OneCycleConfig(rise=rise, start=1 / 10, floor=1 / 10_000)
    for update in range(updates + 1):
        assert 2 * rate_factor(ours, update / 20, 4, []) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        if update < updates:
            optimizer.step()
            theirs.step()


def test_a_rate_divided_by_four_at_every_epoch_that_is_no_better_than_the_best() -> None:
    """The rule of PyTorch's example word_language_model, in its own words: `lr /= 4`."""
    schedule = text_recipe("--schedule.kind=plateau", "--schedule.factor=0.25").schedule
    losses = [5.0, 4.0, 4.1, 4.0, 3.9, 3.95, 3.92, 3.8, 3.8]
    rate, best = 20.0, None
    for epoch, loss in enumerate(losses, start=1):
        if best is None or loss < best:
            best = loss
        else:
            rate /= 4
        assert 20 * rate_factor(schedule, float(epoch), 40, losses[:epoch]) == rate
    assert rate == 20 / 4**5


PLATEAUS = [
    (1, [], 1),
    (1, [3, 2, 1], 1),
    (1, [3, 3], 0.1),
    (1, [3, 2, 2.5, 2.4], 0.01),
    (1, [3, 2, 2.5, 1.9, 1.9], 0.01),
    (2, [3, 3.1], 1),
    (2, [3, 3.1, 3.2], 0.1),
    (2, [3, 3.1, 2.9, 3, 2.8], 1),
    (2, [3, 3.1, 3.2, 3.3, 3.4], 0.01),
    (2, [3, 3.1, 3.2, 3.3, 2.9, 3], 0.1),
]


def test_plateaus_of_the_validation_loss() -> None:
    for patience, losses, expected in PLATEAUS:
        schedule = PlateauConfig(factor=0.1, patience=patience)
        for epoch in (0.0, 5.5):
            assert rate_factor(schedule, epoch, 3, losses) == pytest.approx(expected), (patience, losses)


def test_a_run_that_goes_on_to_another_length_tells_where_its_rate_jumps() -> None:
    before, longer = (
        text_recipe("--schedule.kind=cosine", "--optimizer.learning_rate=2", f"--training.epochs={epochs}")
        for epochs in (4, 8)
    )
    assert rate_jump(before, longer, 20, 10, []) == pytest.approx((1 + cos(1.9 * pi / 4), 1 + sqrt(0.5)))
    assert rate_jump(before, before, 20, 10, []) is None
    assert rate_jump(text_recipe(), text_recipe("--training.epochs=8"), 20, 10, []) is None
