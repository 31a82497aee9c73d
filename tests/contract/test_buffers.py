"""Buffers and modes of a model are changed by its training alone, and once."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, make_language_model, make_span, squared_error
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.estimators import Checkpointed, ExactAhead, GradientEstimator, Loss, SyntheticGradients, TruncatedBPTT
from sgrnn.models.evaluation import evaluate
from sgrnn.models.generation import generate
from sgrnn.span import Span
from sgrnn.synthesizers import ErrorSynthesizer

STEPS = 6


def make_whole() -> Span:
    return make_span(STEPS + 3).slice(0, STEPS)


class Normalized(nn.Module):
    """Takes statistics over its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.core = nn.BatchNorm1d(SIZE), nn.GRU(SIZE, SIZE)

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.core(self.norm(inputs.flatten(0, 1)).view_as(inputs), state)


class Averaging(nn.Module):
    """Keeps a mean of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(SIZE, SIZE)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.mean = self.mean + inputs.detach().sum()
        return self.core(inputs, state)


def synthetic(model: nn.Module, loss: Loss) -> SyntheticGradients:
    synthesizer = ErrorSynthesizer(SIZE, SIZE, SIZE, lookahead=3)
    return SyntheticGradients(model, loss, 2, synthesizer=synthesizer).double()


@pytest.mark.parametrize(
    ("make", "make_estimator"),
    [
        (Normalized, partial(TruncatedBPTT, window=2, parallel=None)),
        (Normalized, synthetic),
        (Averaging, partial(TruncatedBPTT, window=2, parallel=None)),
        (Averaging, partial(ExactAhead, window=2, lookahead=3)),
        (Normalized, partial(Checkpointed, window=2)),
        (Averaging, partial(Checkpointed, window=2)),
    ],
)
def test_batch_statistics_are_taken_in_once(
    make: type[nn.Module], make_estimator: Callable[[nn.Module, Loss], GradientEstimator]
) -> None:
    model, plain = make().double(), make().double()
    plain.load_state_dict(model.state_dict())
    span, state = make_whole(), torch.zeros(1, ROWS, SIZE).double()
    make_estimator(model, squared_error).backward(span, state)
    for start in range(0, STEPS, 2):
        _, state = plain(span.inputs[start : start + 2], state)
    assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))


@pytest.mark.parametrize(
    ("make", "message"),
    [(Normalized, "norm takes them: parallel must be False"), (Averaging, "changes its buffer mean when it runs")],
)
def test_windows_as_one_batch_are_refused_where_they_would_change_statistics(
    make: type[nn.Module], message: str
) -> None:
    model, state = make().double(), torch.zeros(1, ROWS, SIZE).double()
    before = copy.deepcopy(dict(model.named_buffers()))
    with pytest.raises(ValueError, match=message):
        TruncatedBPTT(model, squared_error, 2, parallel=True).backward(make_whole(), state)
    assert_identical(dict(model.named_buffers()), before)


@pytest.mark.parametrize("make", [nn.Dropout, lambda rate: nn.GRU(SIZE, SIZE, 2, dropout=rate)])
def test_left_to_choose_windows_run_in_order_where_they_cannot_run_as_one_batch(make: Any) -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.gru = make(0.5), nn.GRU(SIZE, SIZE, 2)

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            outputs, after = self.gru(inputs, state)
            return self.part(outputs) if isinstance(self.part, nn.Dropout) else self.part(outputs)[0], after

    state = torch.zeros(2, ROWS, SIZE).double()
    TruncatedBPTT(Dropping().double(), squared_error, 2, parallel=None).backward(make_whole(), state)


def test_evaluation_and_generation_leave_every_module_in_its_mode() -> None:
    model = make_language_model(LSTM(SIZE, SIZE, 2, dropout=0.2), dropout=0.2)
    model.train()
    model.core.eval()  # held fixed by its owner
    modes = {name: module.training for name, module in model.named_modules()}

    def now() -> dict[str, bool]:
        return {name: module.training for name, module in model.named_modules()}

    evaluate(model, torch.tensor([1, 2, 3, 4]), 0, batch_size=2)
    assert now() == modes
    with pytest.raises(IndexError):
        evaluate(model, torch.tensor([1, 2]), 10**6)
    assert now() == modes
    drawing = generate(model, [0], 5, seed=0)
    first = next(drawing)
    assert now() == modes, "also between two tokens, and where it is abandoned"
    assert torch.is_grad_enabled()
    assert [first, *drawing] == list(generate(model, [0], 5, seed=0))
    model.core.register_forward_pre_hook(lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        list(generate(model, [0], 1))
    assert now() == modes
