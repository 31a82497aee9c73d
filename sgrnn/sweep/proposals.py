"""Proposals of values to try: by the scores so far, and no combination of values twice."""

from collections import Counter
from math import prod
from random import Random
from typing import Any, final

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from sgrnn.sweep.space import Space


@final
class Untried(TPESampler):
    """Propose values by Optuna's tree-structured Parzen estimator, but in a finite space none that were tried together.

    Where its choice would lead to combinations that all were, one of the other values takes its place by chance.

    Args:
        space: the fields; trials are asked for them in this order.
        seed: for the same proposals again.
    """

    def __init__(self, space: Space, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self._space = space
        self._draw = Random(seed)
        sizes = [_size(values) for values in space.values()]
        self._sizes = None if None in sizes else [size for size in sizes if size is not None]

    @property
    def combinations(self) -> int | None:
        """Number of combinations of values in the space; None where it is infinite."""
        return None if self._sizes is None else prod(self._sizes)

    def tried(self, study: Study) -> set[tuple[int, ...]]:
        """Return the combinations of values that trials have used so far, each as the indices of its values."""
        return {
            tuple(_place(values, trial.params[field]) for field, values in self._space.items())
            for trial in study.get_trials(deepcopy=False)
            if trial.state != TrialState.WAITING and trial.params.keys() == self._space.keys()
        }

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return fields to choose together: none in a finite space, where each is chosen in view of earlier ones."""
        return super().infer_relative_search_space(study, trial) if self._sizes is None else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Choose the value of one field."""
        value = super().sample_independent(study, trial, param_name, param_distribution)
        if self._sizes is None:
            return value
        fields = list(self._space)
        depth = fields.index(param_name)
        chosen = tuple(_place(self._space[field], trial.params[field]) for field in fields[:depth])
        used = Counter(each[depth] for each in self.tried(study) if each[:depth] == chosen)
        left = prod(self._sizes[depth + 1 :])  # combinations of each value with those of the fields to come
        values = self._space[param_name]
        if used[_place(values, value)] < left:
            return value
        return _value(values, self._draw.choice([index for index in range(self._sizes[depth]) if used[index] < left]))


def _size(values: BaseDistribution) -> int | None:
    """Return the number of values of a field; None where it is infinite."""
    match values:
        case CategoricalDistribution(choices=choices):
            return len(choices)
        case IntDistribution(low=low, high=high, step=step) | FloatDistribution(low=low, high=high, step=float(step)):
            return round((high - low) / step) + 1
    return None


def _place(values: BaseDistribution, value: Any) -> int:
    """Return the index of a value among the finitely many of its field."""
    if isinstance(values, IntDistribution | FloatDistribution):
        return round((value - values.low) / (values.step or 1))
    return int(values.to_internal_repr(value))


def _value(values: BaseDistribution, place: int) -> Any:
    """Return the value with an index among those of its field."""
    if isinstance(values, IntDistribution | FloatDistribution):
        return values.low + place * (values.step or 1)
    return values.to_external_repr(place)
