"""Windows run one after another equal the same windows run as one batch, random masks included."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    divide,
    gradients,
    make_hierarchy,
    make_language_model,
    make_span,
    make_state,
    make_text,
    squared_error,
    train_on,
)
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.cores import GRU, LSTM
from sgrnn.cores.dropout import Dropout
from sgrnn.estimators import GradientEstimator, Step, SyntheticGradients, TruncatedBPTT
from sgrnn.models.language_model import LanguageModel
from sgrnn.synthesizers import ErrorSynthesizer, MLPSynthesizer

MakePolicy = Callable[[LanguageModel, int, bool], GradientEstimator]
Starts = list[tuple[int, int]] | None

STEPS = 11
STARTS = {
    "none": None,
    "at edges": [(0, 1), (3, 0), (6, 0), (9, 2)],
    "at the ragged window's": [(9, 1)],
    "inside": [(3, 0), (4, 2)],
}


class OwnCell(nn.Module):
    """A user's core with dropout inside a step by step loop, and a phase counted in integers."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(SIZE, SIZE)
        self.dropout = Dropout(0.4)

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        return {
            "hidden": self.cell.weight_hh.new_zeros(batch_size, SIZE),
            "phase": torch.zeros(batch_size, 1, dtype=torch.long),
        }

    def forward(self, inputs: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        hidden, phase = state["hidden"], state["phase"]
        outputs = []
        for step in inputs:
            hidden = self.cell(self.dropout(step.unsqueeze(0))[0], hidden) * torch.where(phase % 2 == 0, 1.0, 0.8)
            phase = phase + 1
            outputs.append(hidden)
        return torch.stack(outputs), {"hidden": hidden, "phase": phase}


MODELS = {
    "LSTM": lambda: make_language_model(LSTM(SIZE, SIZE, 2, dropout=0.4), dropout=0.3),
    "GRU": lambda: make_language_model(GRU(SIZE, SIZE, 3, dropout=0.4), dropout=0.3),
    "without dropout": lambda: make_language_model(nn.LSTM(SIZE, SIZE, 2)),
    "hierarchy": lambda: make_language_model(make_hierarchy(1, 2, 5), dropout=0.3),
    "own": lambda: make_language_model(OwnCell(), dropout=0.3),
}


def truncated(model: LanguageModel, window: int, parallel: bool) -> GradientEstimator:
    return TruncatedBPTT(window, parallel=parallel)


def learned(synthesizer: ErrorSynthesizer | MLPSynthesizer, window: int, parallel: bool) -> GradientEstimator:
    """One that has learned something, so that all it does shows."""
    nn.init.normal_(synthesizer.last.weight)
    estimator = SyntheticGradients(window, synthesizer, discount=0.9, remove_mean=True, parallel=parallel).double()
    estimator.shrinkage.dot.fill_(0.4)
    estimator.shrinkage.square.fill_(0.5)
    return estimator


def synthetic(model: LanguageModel, window: int, parallel: bool) -> GradientEstimator:
    torch.manual_seed(5)
    return learned(model.synthesizer(3, hidden_size=8, rank=4, projection=3), window, parallel)


def adjoint(model: LanguageModel, window: int, parallel: bool) -> GradientEstimator:
    torch.manual_seed(5)
    synthesizer = model.adjoint_synthesizer(window, hidden_size=8, rank=4, projection=3)
    nn.init.normal_(synthesizer.next_last.weight, std=0.3)
    return learned(synthesizer, window, parallel)


def perceptron(model: LanguageModel, window: int, parallel: bool) -> GradientEstimator:
    torch.manual_seed(5)
    synthesizer = model.mlp_synthesizer(2, hidden_sizes=(8,), projection=3, auxiliary=True)
    return learned(synthesizer, window, parallel)


@contextmanager
def batch_sizes(model: LanguageModel) -> Iterator[list[int]]:
    """The numbers of rows the core is given."""
    seen: list[int] = []
    handle = model.core.register_forward_pre_hook(lambda core, arguments: seen.append(arguments[0].shape[1]))
    yield seen
    handle.remove()


def train_two_spans(
    model: LanguageModel, estimator: GradientEstimator, is_first: Starts
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[Step]]:
    spans = divide(make_text(STEPS + 4, is_first=is_first), [STEPS, 4], futures=True)
    torch.manual_seed(7)
    found, steps = train_on(estimator, model, model.loss, spans, make_state(model))
    return found, gradients(estimator), steps


def assert_same_as_in_order(name: str, make_policy: MakePolicy, window: int, is_first: Starts) -> None:
    model = MODELS[name]()
    found, own, steps = train_two_spans(model, make_policy(model, window, True), is_first)
    model = MODELS[name]()
    expected, expected_own, expected_steps = train_two_spans(model, make_policy(model, window, False), is_first)
    assert_close(found, expected)
    assert_close(own, expected_own)
    for step, wanted in zip(steps, expected_steps, strict=True):
        assert_close(step.loss, wanted.loss)
        assert_close(step.state, wanted.state)
        assert_close(step.metrics, wanted.metrics)


@pytest.mark.parametrize("is_first", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("make_policy", [truncated, synthetic, adjoint, perceptron])
@pytest.mark.parametrize("name", MODELS)
def test_losses_states_gradients_and_figures_are_the_same(name: str, make_policy: MakePolicy, is_first: Starts) -> None:
    assert_same_as_in_order(name, make_policy, 3, is_first)


@pytest.mark.parametrize("make_policy", [synthetic, perceptron])
@pytest.mark.parametrize("window", [1, 2, 4, 5, 11, 20])
def test_whatever_the_window(window: int, make_policy: MakePolicy) -> None:
    assert_same_as_in_order("LSTM", make_policy, window, STARTS["none"])


@pytest.mark.parametrize("make_policy", [truncated, synthetic, adjoint, perceptron])
def test_the_masks_matter(make_policy: MakePolicy) -> None:
    model = MODELS["LSTM"]()
    found, _, _ = train_two_spans(model, make_policy(model, 3, True), None)
    model.eval()
    without, _, _ = train_two_spans(model, make_policy(model, 3, True), None)
    for name, gradient in found.items():
        assert not torch.allclose(gradient, without[name], rtol=1e-2), name


@pytest.mark.parametrize(
    ("is_first", "parallel", "expected"),
    [
        (None, False, {ROWS}),
        (None, True, {ROWS, 3 * ROWS}),
        (STARTS["at edges"], True, {ROWS, 3 * ROWS}),
        (STARTS["inside"], True, {ROWS}),
    ],
)
def test_full_windows_are_one_batch_unless_a_sequence_starts_inside_one(
    is_first: Starts, parallel: bool, expected: set[int]
) -> None:
    model = MODELS["LSTM"]()
    with batch_sizes(model) as seen:
        TruncatedBPTT(3, parallel=parallel).backward(
            model, model.loss, make_text(STEPS, is_first=is_first), make_state(model)
        )
    assert set(seen) == expected


def test_one_full_window_runs_once() -> None:
    model = MODELS["LSTM"]()
    with batch_sizes(model) as seen:
        TruncatedBPTT(8, parallel=True).backward(model, model.loss, make_text(STEPS), make_state(model))
    assert seen == [ROWS, ROWS]  # the full window and the ragged one


def test_the_state_that_goes_on_is_contiguous_as_cudnn_wants_it() -> None:
    model = nn.LSTM(SIZE, SIZE, 2).double()
    step = TruncatedBPTT(2, parallel=True).backward(model, squared_error, make_span(6), make_state(model))
    assert all(tensor.is_contiguous() for tensor in step.state)
