"""Rows of different lengths, padded, give the gradients that each row gives alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import SIZE, as_if_trained, gradients, make_core, squared_error
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import initial_state
from sgrnn.estimators import BPTT, Checkpointed, ExactAhead, GradientEstimator, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.online import RTRL, BPLambda
from sgrnn.sequences import spans
from sgrnn.span import Span
from sgrnn.state import state_size
from sgrnn.synthesizers import AdjointSynthesizer, ErrorSynthesizer, MLPSynthesizer, Synthesizer

LENGTHS = [11, 5, 8, 1]  # rows that end with a span, with a window, in the midst of one, and with the first step
ROWS, STEPS, SPAN, WINDOW = len(LENGTHS), 13, 8, 3  # two steps of padding in every row
Found = dict[str, Any]


def learned(core: nn.Module, synthesizer: Synthesizer, **options: Any) -> SyntheticGradients:
    """As if trained for so long that running means stand still: rows alone have the same as rows together."""
    estimator = SyntheticGradients(
        core, squared_error, WINDOW, synthesizer=synthesizer, ema_decay=1 - 1e-15, **options
    )  # fmt: skip
    as_if_trained(estimator)
    estimator.predictor.updates.fill_(1e15)
    estimator.predictor.mean_square.fill_(0.7)
    estimator.reader.output_square.fill_(0.6)
    return estimator


SMALL = {"hidden_size": 8, "rank": 4, "projection": 3}
ESTIMATORS: dict[str, Callable[[nn.Module, int], GradientEstimator]] = {
    "full": lambda core, size: BPTT(core, squared_error),
    "truncated": lambda core, size: TruncatedBPTT(core, squared_error, WINDOW),
    "truncated, one batch": lambda core, size: TruncatedBPTT(core, squared_error, WINDOW, parallel=True),
    "errors": lambda core, size: learned(core, ErrorSynthesizer(size, SIZE, SIZE, lookahead=4, **SMALL)),
    "errors, weighted": lambda core, size: learned(
        core, ErrorSynthesizer(size, SIZE, SIZE, lookahead=4, **SMALL), trace_decay=0.5
    ),
    "errors, one batch": lambda core, size: learned(
        core, ErrorSynthesizer(size, SIZE, SIZE, lookahead=4, **SMALL), parallel=True
    ),
    "errors, low memory": lambda core, size: learned(
        core, ErrorSynthesizer(size, SIZE, SIZE, lookahead=4, **SMALL), low_memory=True
    ),
    "adjoint": lambda core, size: learned(core, AdjointSynthesizer(size, SIZE, SIZE, window=WINDOW, **SMALL)),
    "perceptron": lambda core, size: learned(
        core, MLPSynthesizer(size, (8,), lookahead=4, feature_size=2 * SIZE, auxiliary=True)
    ),
    "of the state alone": lambda core, size: learned(core, MLPSynthesizer(size, (8,))),
    "checkpointed": lambda core, size: Checkpointed(core, squared_error, WINDOW),
    "overlapping": lambda core, size: TruncatedBPTT(core, squared_error, SPAN + 2, every=SPAN),
    "exact": lambda core, size: ExactAhead(core, squared_error, WINDOW, 4),
    "exact, one batch": lambda core, size: ExactAhead(core, squared_error, WINDOW, 4, parallel=True),
    "online": lambda core, size: RTRL(core, squared_error),
}  # fmt: skip


def data(seed: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = torch.randn(2, STEPS, ROWS, SIZE, dtype=torch.float64, generator=generator)
    return inputs, targets


def summed(core: nn.Module, estimator: GradientEstimator, parts: list[Span]) -> Found:
    """Losses and gradients of model and synthesizer, summed over all steps, and over all boundaries that count."""
    state, total = None, {}
    for span in parts:
        core.zero_grad()
        estimator.zero_grad()
        step = estimator.backward(span, state)
        state = step.state
        here: dict[str, Tensor] = {"loss": step.loss * span.size}
        here |= {name: gradient * span.size for name, gradient in gradients(core).items()}
        marks = span.continuing([*range(0, span.steps, WINDOW), span.steps])
        assert marks is not None, "all rows begin in the first span and end in the last"
        counted = int(marks[: -span.batch_size].sum())
        here |= {f"M {name}": gradient * counted for name, gradient in gradients(estimator).items()}
        total = {name: total.get(name, 0) + value for name, value in here.items()}
    return total


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "nn.LSTM-1") for name in ESTIMATORS), ("errors", "own"), ("adjoint", "nn.GRU-1"), ("exact", "own"),
        ("online", "own"), ("errors, one batch", "hierarchy 1, 4"),
    ],
)  # fmt: skip
def test_padded_rows_give_the_gradients_of_each_row_alone(name: str, kind: str) -> None:
    core, (inputs, targets) = make_core(kind), data()
    size = state_size(initial_state(core, 1))

    def run(rows: slice, lengths: list[int] | None, steps: int) -> Found:
        estimator = ESTIMATORS[name](core, size)
        some = inputs[:steps, rows], targets[:steps, rows]
        return summed(core, estimator, list(spans(*some, steps=SPAN, lookahead=estimator.lookahead, lengths=lengths)))

    found, expected = run(slice(None), LENGTHS, STEPS), {}
    for row, length in enumerate(LENGTHS):
        alone = run(slice(row, row + 1), None, length)
        expected = {key: expected.get(key, 0) + value for key, value in alone.items()}
    assert_close(found, expected)
    if isinstance(ESTIMATORS[name](core, size), SyntheticGradients):
        assert max(float(value.abs().max()) for key, value in expected.items() if key[:2] == "M ") > 1e-2


@pytest.mark.parametrize(
    "name", ["truncated, one batch", "checkpointed", "errors", "adjoint", "perceptron", "exact", "online"]
)
def test_what_the_padding_holds_means_nothing(name: str) -> None:
    """Not even to running means: in a mask of one's own any finite value, in `lengths` any at all."""
    core, (inputs, targets) = make_core("nn.LSTM-1"), data()
    other_inputs, other_targets = data(seed=9)
    results = []
    for filling in (None, 1.0, torch.nan):
        one, two = inputs.clone(), targets.clone()
        for row, length in enumerate(LENGTHS):
            if filling is not None:
                one[length:, row], two[length:, row] = other_inputs[length:, row], filling * other_targets[length:, row]
                one[length:, row] *= filling
        estimator = ESTIMATORS[name](core, 6)
        if isinstance(estimator, SyntheticGradients):
            estimator.predictor.updates.zero_()
        (whole,) = spans(one, two, steps=STEPS, lengths=LENGTHS)
        if filling == 1.0:
            whole = Span(one[:11], two[:11], whole.is_first, whole.is_last, None, whole.mask)
        found = summed(core, estimator, whole.divide(SPAN, estimator.lookahead))
        means = [buffer.clone() for key, buffer in estimator.named_buffers() if key != "influence"]
        results.append((found, means))
    assert_close(results[1], results[0])
    assert_identical(results[2], results[0])


def test_the_mean_square_of_output_gradients_is_that_of_real_steps() -> None:
    core, (inputs, targets) = make_core("nn.LSTM-1"), data()
    estimator = SyntheticGradients(core, squared_error, WINDOW, lookahead=4).double()
    estimator.backward(next(spans(inputs, targets, steps=STEPS, lengths=LENGTHS)))
    outputs, _ = core(inputs)
    squares = [(2 * (outputs - targets))[:length, row].square() for row, length in enumerate(LENGTHS)]
    assert_close(estimator.reader.output_square, torch.cat(squares).mean())


def test_an_online_synthesizer_learns_of_no_padding() -> None:
    """BP(lambda) steps its synthesizer by the mean over rows: a row that is all padding is none."""
    results = []
    for rows in (2, 3):
        core, (inputs, targets) = make_core("nn.GRU-1"), data()
        mask = torch.ones(6, rows, dtype=torch.bool)
        mask[:, 2:], mask[4:, 1] = False, False
        estimator = BPLambda(core, squared_error, learning_rate=0.3, trace_decay=0.7)
        span = Span(inputs[:6, :rows], targets[:6, :rows], is_last=torch.ones(rows).bool(), mask=mask)
        step = estimator.backward(span)
        results.append((estimator.weight, estimator.bias, gradients(core), step.loss, step.metrics["td_rms"]))
    assert_close(results[1], results[0])
    assert results[0][0].any()
