"""What a sweep tries: everything once where that ends, and what is likely to be good first."""

from collections.abc import Iterable

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sgrnn.sweep.proposals import Untried
from sgrnn.sweep.space import Choices, Numbers, Space

optuna.logging.set_verbosity(optuna.logging.WARNING)
FINITE: Space = {
    "kind": Choices(('"a"', '"b"', '"c"')),
    "size": Numbers(2, 14, 4, False, True),
    "rate": Numbers(0.1, 0.5, 0.1, False, False),
}
DISTRIBUTIONS: dict[str, optuna.distributions.BaseDistribution] = {
    "kind": CategoricalDistribution(('"a"', '"b"', '"c"')),
    "size": IntDistribution(2, 14, step=4),
    "rate": FloatDistribution(0.1, 0.5, step=0.1),
}


def asked(study: optuna.Study, trials: int, distributions: dict[str, optuna.distributions.BaseDistribution]) -> list:
    found = []
    for _ in range(trials):
        trial = study.ask(distributions)
        found.append(trial.params)
        study.tell(trial, sum(value for value in trial.params.values() if not isinstance(value, str)))
    return found


def distinct(found: Iterable[dict]) -> int:
    return len({tuple(str(round(v, 6)) if isinstance(v, float) else str(v) for v in each.values()) for each in found})


def test_every_combination_comes_once() -> None:
    sampler = Untried(FINITE)
    assert sampler.combinations == 3 * 4 * 5
    study = optuna.create_study(sampler=sampler)
    assert distinct(asked(study, 60, DISTRIBUTIONS)) == 60
    assert len(sampler.tried(study)) == 60


def test_in_a_large_space_good_values_come_more_often() -> None:
    space: Space = {"size": Numbers(0, 999, None, False, True)}
    study = optuna.create_study(sampler=Untried(space, seed=0))
    found = asked(study, 60, {"size": IntDistribution(0, 999)})
    assert distinct(found) == 60
    late = [each["size"] for each in found[30:]]
    assert sum(late) / len(late) < 400, "the less the better, where chance would have 500"


def test_a_space_without_end_has_no_number_of_combinations() -> None:
    space: Space = {"rate": Numbers(0.1, 0.5, None, False, False), "kind": Choices(("1",))}
    sampler = Untried(space)
    assert sampler.combinations is None
    study = optuna.create_study(sampler=sampler)
    found = asked(study, 15, {"rate": FloatDistribution(0.1, 0.5), "kind": CategoricalDistribution(("1",))})
    assert distinct(found) == 15


@pytest.mark.parametrize(
    ("tried", "size"),
    [
        (Numbers(1, 9, None, False, True), 9),
        (Numbers(1, 9, None, True, True), 9),
        (Numbers(0.1, 0.7, 0.2, False, False), 4),
    ],
)
def test_places_and_values_belong_together(tried: Numbers, size: int) -> None:
    assert tried.size == size
    assert [tried.index(tried.at(index)) for index in range(size)] == list(range(size))
    assert (tried.at(0), tried.at(size - 1)) == pytest.approx((tried.low, tried.high))
