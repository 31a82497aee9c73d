"""Processes that share a batch, each with some of its rows, find together what one finds that has all of them."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from models import VOCABULARY, as_if_trained, divide, gradients, make_language_model, make_state, make_text
from together import in_threads
from tolerances import assert_close
from torch import Tensor

from sgrnn.all_reduce import AllReduce
from sgrnn.estimators import GradientEstimator, Step, SyntheticGradients
from sgrnn.estimators.drift import remove_mean
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.schedules import Constant
from sgrnn.models.evaluation import evaluate
from sgrnn.models.language_model import LanguageModel
from sgrnn.state import State, batch_size, concatenate, rows
from sgrnn.synthesizers import Synthesizer
from sgrnn.synthesizers.predictor import FIRST

ROWS = 6
WINDOW = 3
LENGTHS = [7, 4, 6]  # of the spans
Trained = tuple[list[dict[str, Tensor]], list[Step], State, dict[str, Tensor]]
MakeEstimator = Callable[[LanguageModel, AllReduce | None], GradientEstimator]
STARTS = {
    "none": None,
    "all": [(7, row) for row in range(ROWS)],
    "some": [(0, 1), (3, 0), (5, 0), (7, 2), (11, 0), (11, 1), (13, 5)],
}


def learned(
    model: LanguageModel, synthesizer: Synthesizer, all_reduce: AllReduce | None, **options: Any
) -> SyntheticGradients:
    options |= {"discount": 0.9, "all_reduce": all_reduce}
    return as_if_trained(SyntheticGradients(model, model.loss, WINDOW, synthesizer=synthesizer, **options))


def output_gradients_ahead(model: LanguageModel, all_reduce: AllReduce | None, **options: Any) -> SyntheticGradients:
    return learned(model, model.synthesizer(3, hidden_size=8, rank=4, projection=3), all_reduce, **options)


def from_targets(model: LanguageModel, all_reduce: AllReduce | None) -> SyntheticGradients:
    synthesizer = model.diagonal_synthesizer(4, rank=2)
    return learned(model, synthesizer, all_reduce, ahead="targets", run_ahead=1)


def learning_later(model: LanguageModel, all_reduce: AllReduce | None) -> SyntheticGradients:
    """In the second of three spans, drawn by its number, and not in the others."""
    estimator = output_gradients_ahead(model, all_reduce, learn_every=2)
    estimator.predictor.begun.fill_(FIRST)
    return estimator


def adjoint(model: LanguageModel, all_reduce: AllReduce | None) -> SyntheticGradients:
    synthesizer = model.adjoint_synthesizer(WINDOW, hidden_size=8, rank=4, projection=3)
    return learned(model, synthesizer, all_reduce, remove_mean=True)


def perceptron(model: LanguageModel, all_reduce: AllReduce | None) -> SyntheticGradients:
    return learned(model, model.mlp_synthesizer(2, hidden_sizes=(8,), projection=3, auxiliary=True), all_reduce)


def mixed(model: LanguageModel, all_reduce: AllReduce | None) -> Mixed:
    return Mixed(output_gradients_ahead(model, all_reduce), Constant(0.4), ground_every=2, ground_window=4)


ESTIMATORS: dict[str, MakeEstimator] = {
    "output gradients": output_gradients_ahead,
    "centered, as one batch": partial(output_gradients_ahead, remove_mean=True, parallel=True),
    "weighted targets": partial(output_gradients_ahead, trace_decay=0.5, remove_mean=True),
    "from targets": from_targets,
    "low memory": partial(output_gradients_ahead, low_memory=True),
    "learning later": learning_later,
    "adjoint": adjoint,
    "perceptron, two heads": perceptron,
    "mixed, grounded": mixed,
}


def train(
    model: LanguageModel, estimator: GradientEstimator, part: int, parts: int, is_first: list[tuple[int, int]] | None
) -> Trained:
    """Gradients and step of each span, the last state, and the estimator's buffers and parameters; none is changed."""
    start, stop = part * ROWS // parts, (part + 1) * ROWS // parts
    state = rows(make_state(model, ROWS), start, stop)
    found, steps = [], []
    for span in divide(make_text(sum(LENGTHS), ROWS, is_first=is_first), LENGTHS, futures=True):
        model.zero_grad()
        estimator.zero_grad()
        steps.append(estimator.backward(span.rows(start, stop), state))
        state = steps[-1].state
        found.append(
            {**gradients(model), **{f"estimator.{name}": value for name, value in gradients(estimator).items()}}
        )
    kept = {name: value for name, value in estimator.state_dict().items() if isinstance(value, Tensor)}
    return found, steps, state, deepcopy(kept)


@pytest.mark.parametrize(
    ("kind", "parts", "starts"),
    [
        ("output gradients", 2, "all"),
        ("centered, as one batch", 3, "none"),
        ("weighted targets", 3, "some"),
        ("from targets", 3, "some"),
        ("low memory", 2, "all"),
        ("low memory", 3, "some"),
        ("learning later", 3, "some"),
        ("adjoint", 2, "some"),
        ("adjoint", 3, "all"),
        ("perceptron, two heads", 2, "none"),
        ("perceptron, two heads", 3, "some"),
        ("mixed, grounded", 2, "some"),
    ],
)
def test_gradients_metrics_statistics_and_states_are_those_of_the_whole_batch(
    kind: str, parts: int, starts: str
) -> None:
    def prepare(part: int, all_reduce: AllReduce | None, parts: int) -> Callable[[], Trained]:
        model = make_language_model()
        return partial(train, model, ESTIMATORS[kind](model, all_reduce), part, parts, STARTS[starts])

    expected, steps, state, kept = prepare(0, None, 1)()
    found = in_threads(parts, partial(prepare, parts=parts))
    assert next(value for name, value in expected[-1].items() if name.endswith("synthesizer.last.weight")).norm() > 1e-3
    for place, wanted in enumerate(expected):
        mean = {name: torch.stack([one[0][place][name] for one in found]).mean(dim=0) for name in wanted}
        assert_close(mean, wanted)
        assert_close(torch.stack([one[1][place].loss for one in found]).mean(), steps[place].loss)
        for name, metric in steps[place].metrics.items():
            assert_close(torch.stack([one[1][place].metrics[name] for one in found]).mean(), metric)
    assert_close(concatenate([one[2] for one in found]), state)
    for one in found:
        assert_close(one[3], kept)


def test_alone_with_one_row_nothing_is_common_and_together_it_is() -> None:
    gradient = torch.randn(2, 5, dtype=torch.float64)
    assert torch.equal(remove_mean(gradient[:1]), gradient[:1])
    found = in_threads(2, lambda part, all_reduce: partial(remove_mean, gradient[part : part + 1], None, all_reduce))
    assert_close(torch.cat(found), remove_mean(gradient))


@pytest.mark.parametrize(("parts", "tokens"), [(2, 1), (5, 7), (3, 200)])
def test_an_evaluation_that_is_shared_counts_every_token_once(parts: int, tokens: int) -> None:
    model = make_language_model()
    text = torch.randint(0, VOCABULARY, (tokens,), generator=torch.Generator().manual_seed(4))
    sizes = []
    model.core.register_forward_pre_hook(lambda core, given: sizes.append(batch_size(given[1])))
    model.eval()  # once and for all: threads share the model
    expected = evaluate(model, text, 3, batch_size=1)
    sizes.clear()
    found = in_threads(
        parts,
        lambda part, all_reduce: partial(
            evaluate, model, text, 3, batch_size=4, rank=part, world_size=parts, all_reduce=all_reduce
        ),
    )
    assert found == pytest.approx([expected] * parts, rel=1e-9)
    assert len(set(found)) == 1, "all decide alike"
    assert max(sizes) <= 4, "each runs its share"
