"""Core and synthesizer are trained apart: neither's gradients hold anything of the other's loss."""

from typing import Any

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    Table,
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
from torch import nn

from sgrnn.cores import GRU, LSTM
from sgrnn.estimators import SyntheticGradients, TruncatedBPTT
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.state import state_size
from sgrnn.synthesizers import ErrorSynthesizer, Follower, MLPSynthesizer
from sgrnn.synthesizers.lookahead import look_ahead

STEPS, WINDOW = 7, 3
SYNTHESIZERS: dict[str, dict[str, Any]] = {
    "errors, one step": {"kind": "error", "lookahead": 1},
    "errors, one step near": {"kind": "error", "lookahead": 4, "hidden_size": 8, "near": 1},
    "errors, four steps": {"kind": "error", "lookahead": 4, "hidden_size": 8, "rank": 5, "projection": 2},
    "errors, beyond the future": {"kind": "error", "lookahead": 9, "hidden_size": 8, "rank": 2},
    "state alone": {"kind": "mlp", "lookahead": 0},
    "linear": {"kind": "mlp", "lookahead": 0, "hidden_sizes": ()},
    "model's embeddings": {"kind": "mlp", "lookahead": 4, "hidden_sizes": (8, 8)},
    "projected": {"kind": "mlp", "lookahead": 4, "projection": 2},
    "own embedding, auxiliary": {"kind": "mlp", "lookahead": 2, "own_embedding": 3, "auxiliary": True},
    "recurrent": {"kind": "mlp", "lookahead": 3, "recurrent": 5},
}
ADJOINT: dict[str, dict[str, Any]] = {
    "adjoint": {"kind": "adjoint", "window": WINDOW, "hidden_size": 8, "rank": 5, "projection": 2},
    "adjoint, one step near": {"kind": "adjoint", "window": WINDOW, "hidden_size": 8, "near": 1},
}
KINDS: dict[str, Any] = {
    "error": LanguageModel.synthesizer,
    "adjoint": LanguageModel.adjoint_synthesizer,
    "mlp": LanguageModel.mlp_synthesizer,
}


def make_model(dtype: torch.dtype = torch.float64) -> LanguageModel:
    return make_language_model(LSTM(SIZE, SIZE, 2, dropout=0.3), dtype, dropout=0.3, tied=True)


def make_synthesizer(model: LanguageModel, options: dict[str, Any]) -> ErrorSynthesizer | MLPSynthesizer:
    rest = {name: value for name, value in options.items() if name != "kind"}
    return KINDS[options["kind"]](model, **rest)


def make_spans() -> list[Span]:
    is_last = torch.tensor([True, False, True])
    return divide(
        make_text(STEPS + 5, is_first=[(0, 0), (3, 1), (4, 2), (8, 2)], is_last=is_last), [STEPS, 5], futures=True
    )


def trained(estimator: SyntheticGradients) -> SyntheticGradients:
    """As if it had learned: random weights, and a gate that lets them in."""
    torch.manual_seed(5)
    for parameter in estimator.parameters():
        nn.init.normal_(parameter, std=0.5)
    estimator.shrinkage.dot.fill_(0.4)
    estimator.shrinkage.square.fill_(0.5)
    return estimator


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize(("shrinkage", "remove_mean"), [(False, True), (True, True), (True, False)])
@pytest.mark.parametrize("options", (SYNTHESIZERS | ADJOINT).values(), ids=SYNTHESIZERS | ADJOINT)
def test_a_fresh_synthesizer_trains_the_model_as_truncation_does_bit_for_bit(
    options: dict, shrinkage: bool, remove_mean: bool, parallel: bool, dtype: torch.dtype
) -> None:
    model = make_model(dtype)
    state = make_state(model)
    synthesizer = make_synthesizer(model, options)
    estimator = SyntheticGradients(
        WINDOW, synthesizer, remove_mean=remove_mean, shrinkage=shrinkage, parallel=parallel
    ).to(dtype)
    torch.manual_seed(9)
    found, steps = train_on(estimator, model, model.loss, make_spans(), state)
    torch.manual_seed(9)
    truncated = TruncatedBPTT(WINDOW, parallel=parallel)
    expected, expected_steps = train_on(truncated, model, model.loss, make_spans(), state)
    assert_identical(found, expected)
    for step, wanted in zip(steps, expected_steps, strict=True):
        assert_identical(step.loss, wanted.loss)
        assert_identical(step.state, wanted.state)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("options", (SYNTHESIZERS | ADJOINT).values(), ids=SYNTHESIZERS | ADJOINT)
def test_with_discount_0_any_synthesizer_trains_the_model_as_truncation_does_bit_for_bit(
    options: dict, parallel: bool
) -> None:
    model = make_model()
    state = make_state(model)
    estimator = trained(
        SyntheticGradients(WINDOW, make_synthesizer(model, options), discount=0.0, parallel=parallel).double()
    )
    torch.manual_seed(9)
    found, _ = train_on(estimator, model, model.loss, make_spans(), state)
    torch.manual_seed(9)
    expected, _ = train_on(TruncatedBPTT(WINDOW, parallel=parallel), model, model.loss, make_spans(), state)
    assert_identical(found, expected)
    assert any(gradient.any() for gradient in gradients(estimator).values())


@pytest.mark.parametrize("options", SYNTHESIZERS.values(), ids=SYNTHESIZERS)
def test_a_follower_that_has_not_moved_is_the_synthesizer(options: dict) -> None:
    found = []
    for follow_every in (1, 10):
        model = make_model()
        estimator = trained(SyntheticGradients(WINDOW, make_synthesizer(model, options), remove_mean=True).double())
        if follow_every > 1:
            estimator.follower = Follower(estimator.synthesizer, 1.0, follow_every)
        torch.manual_seed(9)
        totals, steps = train_on(estimator, model, model.loss, make_spans(), make_state(model))
        found.append((totals, gradients(estimator), [step.metrics for step in steps]))
    assert_close(found[1], found[0])


@pytest.mark.parametrize("options", (SYNTHESIZERS | ADJOINT).values(), ids=SYNTHESIZERS | ADJOINT)
def test_the_model_gets_the_same_gradients_whether_the_synthesizer_is_trained_or_not(options: dict) -> None:
    found = []
    for train_synthesizer in (True, False):
        model = make_model()
        estimator = trained(SyntheticGradients(WINDOW, make_synthesizer(model, options), remove_mean=True).double())
        estimator.requires_grad_(train_synthesizer)
        torch.manual_seed(9)
        found.append(train_on(estimator, model, model.loss, make_spans(), make_state(model))[0])
        assert any(gradient.any() for gradient in gradients(estimator).values()) is train_synthesizer
    assert_identical(found[0], found[1])


@pytest.mark.parametrize("options", SYNTHESIZERS.values(), ids=SYNTHESIZERS)
def test_the_synthesizer_is_trained_on_its_own_error_alone(options: dict) -> None:
    """Its gradient is that of |M(s_k) - target_k|^2: none comes through what it injected, nor through target_k."""
    model = make_model().eval()
    span = make_text(6, future=make_text(5, seed=8))
    synthesizer = make_synthesizer(model, options)
    estimator = trained(
        SyntheticGradients(WINDOW, synthesizer, shrinkage=False, remove_mean=False, remove_radial=False).double()
    )
    state = make_state(model)
    seen: list[Any] = []
    handle = synthesizer.register_forward_pre_hook(lambda module, arguments: seen.append(arguments))
    estimator.backward(model, model.loss, span, state)
    handle.remove()
    assert not any(tensor.requires_grad for tensor in seen[0][0]), "nor does it see a graph"
    found = gradients(estimator)
    estimator.zero_grad()

    predicted = synthesizer(*seen[0])  # again, and its gradient from the table's, which has no other
    table = Table(3 * ROWS, state_size(state), predicted.shape[1])
    with torch.no_grad():
        table.values.copy_(predicted)
    SyntheticGradients(WINDOW, table, shrinkage=False, remove_mean=False, remove_radial=False).double().backward(
        model, model.loss, span, state
    )
    assert table.values.grad is not None
    predicted.backward(table.values.grad)
    assert_close(found, gradients(estimator))


@pytest.mark.parametrize("make", [LSTM, GRU])
def test_a_row_whose_sequence_ends_injects_nothing_whatever_is_predicted_there(make: Any) -> None:
    span = make_span(6, is_first=[(3, 0)], is_last=torch.tensor([False, True, False]))
    found = []
    for nonsense in (0.0, 1e6):
        torch.manual_seed(0)
        model = make(SIZE, SIZE).double()
        state = make_state(model)
        table = Table(3 * ROWS, state_size(state))
        with torch.no_grad():
            table.values[ROWS] = nonsense  # the second boundary, where row 0 begins anew
            table.values[2 * ROWS + 1] = nonsense  # the last one, where row 1 ends
        estimator = SyntheticGradients(WINDOW, table, remove_mean=True, shrinkage=False).double()
        step = estimator.backward(model, squared_error, span, state)
        assert table.values.grad is not None
        assert not table.values.grad[[ROWS, 2 * ROWS + 1]].any(), "nor is it trained there"
        others = [row for row in range(2 * ROWS) if row != ROWS]
        assert table.values.grad[others].all()
        found.append((gradients(model), step.metrics))
    assert_identical(found[0], found[1])


@pytest.mark.parametrize("options", SYNTHESIZERS.values(), ids=SYNTHESIZERS)
def test_looking_ahead_needs_no_gradient_of_the_models_embeddings(options: dict) -> None:
    model = make_model()
    estimator = trained(SyntheticGradients(WINDOW, make_synthesizer(model, options), remove_mean=True).double())
    steps = max(estimator.lookahead, 1)
    errors = torch.randn(STEPS + 5, ROWS, SIZE, dtype=torch.float64)
    lookahead = look_ahead(make_spans()[0], [0, 3, 6, 7], steps, errors)
    predicted = estimator.synthesizer(make_state(model, 4 * ROWS), lookahead)
    model.zero_grad()
    predicted.sum().backward()
    assert not any(gradient.any() for gradient in gradients(model).values())
