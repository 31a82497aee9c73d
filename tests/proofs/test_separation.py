"""Core and synthesizer are trained apart: the gradients of neither hold anything of the other's loss."""

from typing import Any

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    Table,
    as_if_trained,
    divide,
    gradients,
    make_language_model,
    make_span,
    make_state,
    make_text,
    squared_error,
    train_on,
)
from tolerances import assert_close, assert_identical

from sgrnn.cores import LSTM
from sgrnn.estimators import SyntheticGradients, TruncatedBPTT
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.state import State, state_size
from sgrnn.synthesizers import Lookahead

STEPS, WINDOW = 7, 3
OFF: dict[str, Any] = {"remove_mean": False, "remove_radial": False, "shrinkage": False}
SYNTHESIZERS: dict[str, dict[str, Any]] = {
    "one step": {"kind": "error", "lookahead": 1},
    "one step near": {"kind": "error", "lookahead": 4, "hidden_size": 8, "near": 1},
    "four steps": {"kind": "error", "lookahead": 4, "hidden_size": 8, "rank": 5, "projection": 2},
    "beyond the future": {"kind": "error", "lookahead": 9, "hidden_size": 8, "rank": 2},
    "state alone": {"kind": "mlp", "lookahead": 0},
    "linear": {"kind": "mlp", "lookahead": 0, "hidden_sizes": ()},
    "features": {"kind": "mlp", "lookahead": 4, "hidden_sizes": (8, 8), "projection": None},
    "projected, auxiliary": {"kind": "mlp", "lookahead": 2, "projection": 2, "auxiliary": True},
    "constants": {"kind": "diagonal", "lookahead": 4, "rank": 2},
    "adjoint": {"kind": "adjoint", "window": WINDOW, "hidden_size": 8, "rank": 5, "projection": 2},
    "adjoint, one step near": {"kind": "adjoint", "window": WINDOW, "hidden_size": 8, "near": 1},
}
KINDS: dict[str, Any] = {
    "error": LanguageModel.synthesizer,
    "adjoint": LanguageModel.adjoint_synthesizer,
    "diagonal": LanguageModel.diagonal_synthesizer,
    "mlp": LanguageModel.mlp_synthesizer,
}


def make_model(dtype: torch.dtype = torch.float64) -> LanguageModel:
    return make_language_model(LSTM(SIZE, SIZE, 2, dropout=0.3), dtype, dropout=0.3, tied=True)


def make_estimator(model: LanguageModel, kind: str, **options: Any) -> SyntheticGradients:
    rest = {name: value for name, value in SYNTHESIZERS[kind].items() if name != "kind"}
    synthesizer = KINDS[SYNTHESIZERS[kind]["kind"]](model, **rest)
    return SyntheticGradients(model, model.loss, WINDOW, synthesizer=synthesizer, **options).double()


def make_spans() -> list[Span]:
    is_last = torch.tensor([True, False, True])
    return divide(
        make_text(STEPS + 5, is_first=[(0, 0), (3, 1), (4, 2), (8, 2)], is_last=is_last), [STEPS, 5], futures=True
    )


@pytest.mark.parametrize(
    ("kind", "dtype", "options"),
    [
        ("one step", torch.float32, {"remove_mean": True, "shrinkage": False}),
        ("four steps", torch.float64, {"parallel": True}),
        ("beyond the future", torch.float64, {"remove_mean": True, "shrinkage": False, "parallel": True}),
        ("state alone", torch.float32, {"parallel": True}),
        ("projected, auxiliary", torch.float64, {"remove_mean": True}),
        ("adjoint", torch.float32, {"remove_mean": True, "parallel": True}),
    ],
)
def test_a_fresh_synthesizer_trains_the_model_as_truncation_does_bit_for_bit(
    kind: str, dtype: torch.dtype, options: dict[str, Any]
) -> None:
    outcomes = []
    for name in ("synthetic", "truncated"):
        model = make_model(dtype)
        fresh = make_estimator(model, kind, **options).to(dtype)
        truncated = TruncatedBPTT(model, model.loss, WINDOW, parallel=options.get("parallel", False))
        torch.manual_seed(9)
        totals, steps = train_on(fresh if name == "synthetic" else truncated, make_spans(), make_state(model))
        outcomes.append((totals, [(step.loss, step.state) for step in steps]))
    assert_identical(outcomes[0], outcomes[1])


@pytest.mark.parametrize(
    ("kind", "parallel"),
    [("one step near", True), ("linear", False), ("adjoint, one step near", False)],
)
def test_with_discount_0_any_synthesizer_trains_the_model_as_truncation_does_bit_for_bit(
    kind: str, parallel: bool
) -> None:
    model = make_model()
    state = make_state(model)
    estimator = as_if_trained(make_estimator(model, kind, discount=0.0, parallel=parallel))
    torch.manual_seed(9)
    totals, _ = train_on(estimator, make_spans(), state)
    torch.manual_seed(9)
    expected, _ = train_on(TruncatedBPTT(model, model.loss, WINDOW, parallel=parallel), make_spans(), state)
    assert_identical(totals, expected)
    assert any(gradient.any() for gradient in gradients(estimator).values())


@pytest.mark.parametrize("kind", ["four steps", "features", "adjoint"])
def test_the_model_gets_the_same_gradients_whether_the_synthesizer_is_trained_or_not(kind: str) -> None:
    outcomes = []
    for trains in (True, False):
        model = make_model()
        estimator = as_if_trained(make_estimator(model, kind, remove_mean=True)).requires_grad_(trains)
        torch.manual_seed(9)
        outcomes.append(train_on(estimator, make_spans(), make_state(model))[0])
        assert any(gradient.any() for gradient in gradients(estimator).values()) is trains
    assert_identical(outcomes[0], outcomes[1])


@pytest.mark.parametrize("kind", ["one step near", "beyond the future", "state alone", "projected, auxiliary"])
def test_the_synthesizer_is_trained_on_its_own_loss_alone(kind: str) -> None:
    """Its gradient is that of |M(s_k) - target_k|^2: none comes through what it injected, nor through target_k."""
    model = make_model().eval()
    span = make_text(6, future=make_text(5, seed=8))
    estimator = as_if_trained(make_estimator(model, kind, **OFF))
    synthesizer, state = estimator.synthesizer, make_state(model)
    seen: list[tuple[State, Lookahead | None]] = []
    handle = synthesizer.register_forward_pre_hook(lambda module, arguments: seen.append(arguments))
    estimator.backward(span, state)
    handle.remove()
    states, lookahead = seen[0]
    read = [*states, *(vars(lookahead).values() if lookahead is not None else [])]
    assert not any(tensor.requires_grad for tensor in read if tensor is not None), "nor does it see a graph"
    trained = gradients(estimator)
    estimator.zero_grad()

    predicted = synthesizer(states, lookahead)  # again, and its gradient from the table's, which has no other
    table = Table(3 * ROWS, state_size(state), predicted.shape[1])
    with torch.no_grad():
        table.values.copy_(predicted)
    SyntheticGradients(model, model.loss, WINDOW, synthesizer=table, **OFF).double().backward(span, state)
    assert table.values.grad is not None
    predicted.backward(table.values.grad)
    assert_close(trained, gradients(estimator))


def test_a_row_whose_sequence_ends_injects_nothing_whatever_is_predicted_there() -> None:
    span = make_span(6, is_first=[(3, 0)], is_last=torch.tensor([False, True, False]))
    outcomes = []
    for nonsense in (0.0, 1e6):
        torch.manual_seed(0)
        model = LSTM(SIZE, SIZE).double()
        state = make_state(model)
        table = Table(3 * ROWS, state_size(state))
        with torch.no_grad():
            table.values[ROWS] = nonsense  # the second boundary, where row 0 begins anew
            table.values[2 * ROWS + 1] = nonsense  # the last one, where row 1 ends
        estimator = SyntheticGradients(
            model, squared_error, WINDOW, synthesizer=table, remove_mean=True, shrinkage=False
        ).double()
        step = estimator.backward(span, state)
        assert table.values.grad is not None
        assert not table.values.grad[[ROWS, 2 * ROWS + 1]].any(), "nor is it trained there"
        others = [row for row in range(2 * ROWS) if row != ROWS]
        assert table.values.grad[others].all()
        outcomes.append((gradients(model), step.metrics))
    assert_identical(outcomes[0], outcomes[1])
