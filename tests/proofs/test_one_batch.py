"""Windows run one after another equal the same windows run as one batch, random masks included."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    as_if_trained,
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
from sgrnn.synthesizers import Synthesizer

MakeEstimator = Callable[[LanguageModel, int, bool], GradientEstimator]
Starts = list[tuple[int, int]] | None

STEPS = 11
STARTS = {
    "none": None,
    "at boundaries": [(0, 1), (3, 0), (6, 0), (9, 2)],
    "at the last window's": [(9, 1)],
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
    return TruncatedBPTT(model, model.loss, window, parallel=parallel)


def learned(model: LanguageModel, synthesizer: Synthesizer, window: int, parallel: bool) -> GradientEstimator:
    options: dict[str, Any] = {"discount": 0.9, "remove_mean": True, "parallel": parallel}
    estimator = SyntheticGradients(model, model.loss, window, synthesizer=synthesizer, **options)
    return as_if_trained(estimator, std=0.3)


def synthetic(model: LanguageModel, window: int, parallel: bool) -> GradientEstimator:
    return learned(model, model.synthesizer(3, hidden_size=8, rank=4, projection=3), window, parallel)


def adjoint(model: LanguageModel, window: int, parallel: bool) -> GradientEstimator:
    synthesizer = model.adjoint_synthesizer(window, hidden_size=8, rank=4, projection=3)
    return learned(model, synthesizer, window, parallel)


def perceptron(model: LanguageModel, window: int, parallel: bool) -> GradientEstimator:
    synthesizer = model.mlp_synthesizer(2, hidden_sizes=(8,), projection=3, auxiliary=True)
    return learned(model, synthesizer, window, parallel)


@contextmanager
def batch_sizes(model: LanguageModel) -> Iterator[list[int]]:
    """The numbers of rows the core is given."""
    seen: list[int] = []
    handle = model.core.register_forward_pre_hook(lambda core, arguments: seen.append(arguments[0].shape[1]))
    yield seen
    handle.remove()


def train_two_spans(
    model: LanguageModel, estimator: GradientEstimator, is_first: Starts
) -> tuple[dict[str, Tensor], list[Step]]:
    spans = divide(make_text(STEPS + 4, is_first=is_first), [STEPS, 4], futures=True)
    torch.manual_seed(7)
    return train_on(estimator, spans, make_state(model))


@pytest.mark.parametrize(
    ("name", "make_estimator", "window", "starts"),
    [
        ("LSTM", truncated, 3, "none"),
        ("LSTM", synthetic, 4, "none"),
        ("LSTM", perceptron, 1, "at the last window's"),
        ("GRU", adjoint, 3, "at boundaries"),
        ("without dropout", synthetic, 3, "inside"),
        ("hierarchy", truncated, 3, "at boundaries"),
        ("hierarchy", synthetic, 3, "at the last window's"),
        ("own", adjoint, 3, "at the last window's"),
        ("own", perceptron, 3, "at boundaries"),
        ("LSTM", synthetic, 20, "inside"),
    ],
)
def test_losses_states_gradients_and_metrics_are_those_of_windows_in_order(
    name: str, make_estimator: MakeEstimator, window: int, starts: str
) -> None:
    outcomes = []
    for parallel in (True, False):
        model = MODELS[name]()
        estimator = make_estimator(model, window, parallel)
        totals, steps = train_two_spans(model, estimator, STARTS[starts])
        outcomes.append((totals, gradients(estimator), [(step.loss, step.state, step.metrics) for step in steps]))
    assert_close(outcomes[0], outcomes[1])


def test_the_masks_matter() -> None:
    model = MODELS["LSTM"]()
    totals, _ = train_two_spans(model, synthetic(model, 3, True), None)
    model.eval()
    without, _ = train_two_spans(model, synthetic(model, 3, True), None)
    for name, gradient in totals.items():
        assert not torch.allclose(gradient, without[name], rtol=1e-2), name


@pytest.mark.parametrize(
    ("is_first", "expected"),
    [
        (None, {ROWS, 3 * ROWS}),
        (STARTS["at boundaries"], {ROWS, 3 * ROWS}),
        (STARTS["inside"], {ROWS}),
    ],
)
def test_full_windows_are_one_batch_unless_a_sequence_starts_inside_one(is_first: Starts, expected: set[int]) -> None:
    model = MODELS["LSTM"]()
    with batch_sizes(model) as seen:
        TruncatedBPTT(model, model.loss, 3, parallel=True).backward(
            make_text(STEPS, is_first=is_first), make_state(model)
        )
    assert set(seen) == expected


def test_one_full_window_runs_once() -> None:
    model = MODELS["LSTM"]()
    with batch_sizes(model) as seen:
        TruncatedBPTT(model, model.loss, 8, parallel=True).backward(make_text(STEPS), make_state(model))
    assert seen == [ROWS, ROWS]  # the full window and the shorter one


def test_the_state_that_goes_on_is_contiguous_as_cudnn_wants_it() -> None:
    model = nn.LSTM(SIZE, SIZE, 2).double()
    step = TruncatedBPTT(model, squared_error, 2, parallel=True).backward(make_span(6), make_state(model))
    assert all(tensor.is_contiguous() for tensor in step.state)
