"""What a sweep tries: everything once where that ends, and what is likely to be good first."""

from collections.abc import Iterable

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sgrnn.sweep.proposals import Untried
from sgrnn.sweep.space import Space

optuna.logging.set_verbosity(optuna.logging.WARNING)
FINITE: Space = {
    "kind": CategoricalDistribution(('"a"', '"b"', '"c"')),
    "size": IntDistribution(2, 14, step=4),
    "rate": FloatDistribution(0.1, 0.5, step=0.1),
}


def asked(study: optuna.Study, trials: int, space: Space) -> list:
    found = []
    for _ in range(trials):
        trial = study.ask(space)
        found.append(trial.params)
        study.tell(trial, sum(value for value in trial.params.values() if not isinstance(value, str)))
    return found


def distinct(found: Iterable[dict]) -> int:
    return len({tuple(str(round(v, 6)) if isinstance(v, float) else str(v) for v in each.values()) for each in found})


def test_every_combination_comes_once() -> None:
    sampler = Untried(FINITE)
    assert sampler.combinations == 3 * 4 * 5
    study = optuna.create_study(sampler=sampler)
    assert distinct(asked(study, 60, FINITE)) == 60
    assert len(sampler.tried(study)) == 60


def test_in_a_large_space_good_values_come_more_often() -> None:
    space: Space = {"size": IntDistribution(0, 999)}
    study = optuna.create_study(sampler=Untried(space, seed=0))
    found = asked(study, 60, space)
    assert distinct(found) == 60
    late = [each["size"] for each in found[30:]]
    assert sum(late) / len(late) < 400, "the less the better, where chance would have 500"


def test_a_space_without_end_has_no_number_of_combinations() -> None:
    space: Space = {"rate": FloatDistribution(0.1, 0.5), "kind": CategoricalDistribution(("1",))}
    sampler = Untried(space)
    assert sampler.combinations is None
    study = optuna.create_study(sampler=sampler)
    found = asked(study, 15, space)
    assert distinct(found) == 15


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (IntDistribution(1, 9), list(range(1, 10))),
        (IntDistribution(1, 9, log=True), list(range(1, 10))),
        (FloatDistribution(0.1, 0.7, step=0.2), [0.1, 0.3, 0.5, 0.7]),
    ],
)
def test_all_values_of_a_field_are_tried_once(values: BaseDistribution, expected: list[float]) -> None:
    study = optuna.create_study(sampler=Untried({"field": values}, seed=0))
    tried = asked(study, len(expected), {"field": values})
    assert sorted(each["field"] for each in tried) == pytest.approx(expected)
