"""A synthesizer that learns in one of several updates stands still in between, its predictions injected in all."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from models import SIZE, divide, gradients, make_core, make_language_model, make_span, make_state, squared_error
from tolerances import assert_close, assert_identical
from torch import nn

from sgrnn.estimators import ControlVariate, Delayed, GradientEstimator, SyntheticGradients
from sgrnn.span import Span
from sgrnn.state import state_size
from sgrnn.synthesizers import (
    AdjointSynthesizer,
    DiagonalSynthesizer,
    ErrorSynthesizer,
    MLPSynthesizer,
    Synthesizer,
    predictor,
)

FIRST, EVERY, UPDATES = 2, 3, 9
LEARNED = {"target_r2", "target_cosine", "shrinkage", "target_rms", "injected_share"}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be the first updates for a short time."""
    monkeypatch.setattr(predictor, "FIRST", FIRST)


def turns(updates: int, learn_every: int = EVERY) -> list[bool]:
    """In which updates is learned."""
    counted = predictor.GradientPredictor(nn.Identity(), learn_every=learn_every)
    return [counted.begin() for _ in range(updates)]


def make_synthesizer(kind: str, core: nn.Module, window: int) -> Synthesizer:
    size = state_size(make_state(core))
    match kind:
        case "errors":
            return ErrorSynthesizer(size, SIZE, SIZE, lookahead=4, hidden_size=4, rank=2)
        case "diagonal":
            return DiagonalSynthesizer(size, SIZE, lookahead=4, rank=2)
        case "adjoint":
            return AdjointSynthesizer(size, SIZE, SIZE, window=window, hidden_size=4, rank=2)
        case _:
            return MLPSynthesizer(size, (4,), lookahead=4, feature_size=2 * SIZE)


def make_estimator(case: str, learn_every: int, kind: str = "errors", **options: Any) -> GradientEstimator:
    torch.manual_seed(0)
    core = make_core("LSTM-2")
    synthesizer = make_synthesizer(kind, core, 3).double()
    synthetic = SyntheticGradients(
        core, squared_error, 3, synthesizer=synthesizer, learn_every=learn_every, ema_decay=0.7, **options
    )  # fmt: skip
    wrapped = {"late": lambda: Delayed(synthetic, 4), "drawn": lambda: ControlVariate(synthetic, 0.5)}
    return wrapped.get(case, lambda: synthetic)()


def make_spans(case: str) -> list[Span]:
    steps = 3 if case == "late" else 6
    whole = make_span((UPDATES + 2) * steps, is_first=[(4, 0), (9, 1)])
    parts = divide(whole, [steps] * (UPDATES + 2), futures=True)
    return parts if case == "late" else parts[:UPDATES]


def standing(estimator: GradientEstimator) -> Sequence[nn.Module]:
    """What is to stand still between two updates that are learned from."""
    synthetic = estimator.synthetic if isinstance(estimator, Delayed | ControlVariate) else estimator
    assert isinstance(synthetic, SyntheticGradients)
    return [synthetic.predictor] if isinstance(estimator, Delayed) else [synthetic.predictor, synthetic.reader]


@pytest.mark.parametrize(
    ("case", "kind", "options"),
    [
        ("plain", "errors", {}),
        ("plain", "errors", {"parallel": True, "remove_mean": True}),
        ("plain", "errors", {"low_memory": True}),
        ("plain", "errors", {"trace_decay": 0.4, "run_ahead": 2}),
        ("plain", "diagonal", {}),
        ("plain", "adjoint", {}),
        ("plain", "mlp", {}),
        ("plain", "mlp", {"low_memory": True}),
        ("drawn", "errors", {}),
        ("late", "errors", {}),
        ("late", "adjoint", {}),
    ],
)
def test_the_model_is_given_what_a_synthesizer_predicts_that_stands_still_in_between(
    case: str, kind: str, options: dict[str, Any]
) -> None:
    rarely, always = (make_estimator(case, every, kind, **options) for every in (EVERY, 1))
    optimizers = [torch.optim.Adam(each.parameters(), 0.05) for each in (rarely, always)]
    states: list[Any] = [make_state(rarely.model)] * 2
    learned, learns = 0, turns(UPDATES)
    for span in make_spans(case):
        kept = [deepcopy(each.state_dict()) for each in standing(always)]
        steps = []
        for place, estimator in enumerate((rarely, always)):
            estimator.model.zero_grad()
            optimizers[place].zero_grad()
            steps.append(estimator.backward(span, states[place]))
            states[place] = steps[-1].state
        assert_identical(gradients(rarely.model), gradients(always.model))
        assert_identical(steps[0].loss, steps[1].loss)
        if not set(steps[1].metrics) >= LEARNED:
            continue  # what comes late has seen nothing yet
        if learns[learned]:
            assert_identical(gradients(rarely), gradients(always))
            assert_identical(steps[0].metrics, steps[1].metrics)
            for optimizer in optimizers:
                optimizer.step()
        else:
            assert all(each.grad is None for each in rarely.parameters())
            assert steps[1].metrics.keys() - steps[0].metrics.keys() == LEARNED
            for module, before in zip(standing(always), kept, strict=True):
                module.load_state_dict(before)
        learned += 1
    assert learned == UPDATES


def test_where_it_is_in_its_round_is_saved() -> None:
    given = make_spans("plain")
    whole, first = make_estimator("plain", EVERY), make_estimator("plain", EVERY)
    state = make_state(whole.model)
    for span in given[:2]:
        for each in (whole, first):
            each.backward(span, state)
    later = make_estimator("plain", EVERY)
    later.load_state_dict(first.state_dict())
    found = []
    for each in (whole, later):
        each.zero_grad()
        found.append(["target_r2" in each.backward(span, state).metrics for span in given[2:]])
    assert found[0] == found[1] == turns(UPDATES)[2:]


@pytest.mark.parametrize("options", [{}, {"low_memory": True}])
def test_no_graph_of_predictions_is_kept_where_nothing_is_learned(options: dict[str, Any]) -> None:
    estimator, kept = make_estimator("plain", EVERY, **options), list[bool]()
    assert isinstance(estimator, SyntheticGradients)
    estimator.synthesizer.register_forward_hook(lambda module, inputs, predicted: kept.append(predicted.requires_grad))
    found = []
    for span in make_spans("plain"):
        estimator.backward(span, make_state(estimator.model))
        (graph,) = set(kept)
        found.append(graph)
        kept.clear()
    assert found == turns(UPDATES)


def test_looking_is_no_update() -> None:
    given, estimator = make_spans("plain"), make_estimator("plain", EVERY)
    state = make_state(estimator.model)
    for span in given:
        before = deepcopy(estimator.state_dict())
        estimator.look(span, state)
        assert_identical(before, estimator.state_dict())
        estimator.backward(span, state)
    assert int(estimator.state_dict()["predictor.begun"]) == UPDATES


def test_after_the_first_one_of_so_many_is_learned_from_at_changing_places() -> None:
    found = turns(FIRST + 50 * 8, 8)
    assert all(found[:FIRST])
    rounds = [found[start : start + 8] for start in range(FIRST, len(found), 8)]
    assert all(sum(each) == 1 for each in rounds)
    assert {each.index(True) for each in rounds} == set(range(8))
    assert found == turns(FIRST + 50 * 8, 8)


@pytest.mark.parametrize("low_memory", [False, True])
def test_a_unit_that_was_not_there_in_the_updates_that_are_learned_from_is_taken_in_later(low_memory: bool) -> None:
    """The same, whichever way a span is gone through."""
    estimators = [make_estimator("plain", 1000, low_memory=each) for each in (low_memory, False)]
    found = []
    for estimator in estimators:
        assert isinstance(estimator, SyntheticGradients)
        estimator.predictor.begun.fill_(FIRST)
        for span in make_spans("plain")[:2]:
            estimator.model.zero_grad()
            estimator.backward(span, make_state(estimator.model))
        assert float(estimator.reader.output_square) > 0
        found.append([gradients(estimator.model), estimator.reader.output_square])
    assert_close(*found)


def test_one_that_always_learns_saves_no_count() -> None:
    model = make_language_model()
    estimator = SyntheticGradients(model, model.loss, 3)
    assert "predictor.begun" not in estimator.state_dict()


@pytest.mark.parametrize(("value", "found"), [(0, "at least 1 update, got 0"), (2.5, "a whole number, got 2.5")])
def test_rounds_of_no_update_are_refused(value: Any, found: str) -> None:
    with pytest.raises(ValueError, match=rf"^learn_every must be {found}$"):
        make_estimator("plain", value)
