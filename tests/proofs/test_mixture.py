"""A mixture of real and synthetic gradients crosses boundaries, window by window as defined."""

import pytest
import torch
from models import (
    ROWS,
    Table,
    gradients,
    make_core,
    make_span,
    make_state,
    run_by_hand,
    squared_error,
)
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.estimators import BPTT, SyntheticGradients
from sgrnn.estimators.mixture import Mixture
from sgrnn.span import Span
from sgrnn.state import State, detach, floating_leaves, state_size, to_matrix

STEPS, WINDOW = 12, 2


def blended_by_hand(
    model: nn.Module, span: Span, state: State, injected: Tensor, carried: list[float]
) -> tuple[dict[str, Tensor], Tensor]:
    """Parameter gradients and targets, window after window from the last: what crosses boundary k is
    injected[k] + carried[k] x the target at k."""
    assert span.is_first is not None
    windows = []
    for start in range(0, STEPS, WINDOW):
        part = slice(start, start + WINDOW)
        total, states = run_by_hand(
            model, squared_error, Span(span.inputs[part], span.targets[part], span.is_first[part]), state
        )
        windows.append((total, floating_leaves(states[0]), states[-1]))
        state = detach(states[-1])
    names, parameters = zip(*model.named_parameters(), strict=True)
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    targets = [torch.zeros(ROWS, state_size(state)).double()]
    for (total, first, last), given, factor in reversed(list(zip(windows, injected, carried, strict=True))):
        objective = total + (to_matrix(last) * (given + factor * targets[0])).sum()
        parts = torch.autograd.grad(objective, [*parameters, *first], materialize_grads=True)
        totals = [one + other for one, other in zip(totals, parts, strict=False)]
        targets.insert(0, to_matrix(list(parts[len(parameters) :])))
    return dict(zip(names, totals, strict=True)), torch.stack(targets[:-1])


@pytest.mark.parametrize(
    ("core", "share", "real_window", "trace_decay"),
    [
        ("LSTM-2", 0.3, None, 0.0),
        ("GRU-1", 0.7, 6, 0.0),
        ("nn.RNN-1", 0.3, 2, 0.0),
        ("own", 1.0, 6, 0.0),
        ("own", 1.0, None, 0.6),
        ("GRU-1", 1.0, None, 1.0),
        ("LSTM-2", 0.4, 6, 0.6),
        ("nn.RNN-1", 0.4, 2, 0.6),
    ],
)
def test_in_between_both_cross_a_boundary(core: str, share: float, real_window: int | None, trace_decay: float) -> None:
    model = make_core(core)
    state = make_state(model)
    span = make_span(STEPS, is_first=[(4, 1)], is_last=torch.tensor([True, False, False]))
    count, boundaries, features = STEPS * ROWS, STEPS // WINDOW + 1, state_size(state)
    table = Table(boundaries * ROWS, features)
    synthetic = SyntheticGradients(
        model, squared_error, WINDOW, synthesizer=table, trace_decay=trace_decay, remove_radial=False,
        shrinkage=False, parallel=True,
    ).double()  # fmt: skip
    synthetic.predictor.mean_square.fill_(0.25)
    synthetic.predictor.updates.fill_(1000)
    model.zero_grad()
    synthetic.backward_mixed(span, state, Mixture(share, None, real_window))
    mixture = {name: gradient * count for name, gradient in gradients(model).items()}

    continuing = torch.ones(boundaries, ROWS, dtype=torch.bool)
    continuing[2, 1] = continuing[-1, 0] = False
    predicted = table.values.detach()[:, 0].view(boundaries, ROWS, -1)
    injected = 0.5 * share * predicted * continuing.unsqueeze(-1)
    injected[1:-1] *= 1 - trace_decay
    ends = range(WINDOW, STEPS + 1, WINDOW)
    carried = [share * trace_decay + (1 - share if end % (real_window or STEPS) else 0) for end in ends]
    expected, targets = blended_by_hand(model, span, state, injected[1:], carried)
    assert_close(mixture, expected)

    assert table.values.grad is not None
    trained = continuing[:-1]
    residuals = table.values.grad[:-ROWS, 0].view_as(predicted[:-1]) * trained.sum() * features / 2
    assert_close((0.5 * predicted[:-1] - residuals * synthetic.predictor.scale)[trained], targets[trained])


def test_with_lambda_1_and_rows_that_end_the_gradients_are_the_real_ones() -> None:
    """Carried window by window, the model's gradients are those of `BPTT`."""
    model = make_core("own")
    state = make_state(model)
    span = make_span(STEPS, is_first=[(4, 1)], is_last=torch.ones(ROWS, dtype=torch.bool))
    table = Table((STEPS // WINDOW + 1) * ROWS, state_size(state))
    model.zero_grad()
    carrying = SyntheticGradients(model, squared_error, WINDOW, synthesizer=table, trace_decay=1.0, shrinkage=False)
    carrying.double().backward(span, state)
    carried = gradients(model)
    model.zero_grad()
    BPTT(model, squared_error).backward(span, state)
    assert_close(carried, gradients(model))


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        (Mixture(share=1.1), r"share must be in \(0, 1\], got 1.1"),
        (Mixture(share=0.0), r"share must be in \(0, 1\], got 0.0"),
        (Mixture(window=0), "window must be at least 1 step, got 0"),
        (Mixture(window=4, real_window=6), "real_window must be a multiple of the window, 4 steps, got 6"),
    ],
)
def test_a_mixture_out_of_range_is_refused(mixture: Mixture, message: str) -> None:
    model = make_core("GRU-1")
    state = make_state(model)
    synthetic = SyntheticGradients(model, squared_error, WINDOW, synthesizer=Table(ROWS, state_size(state)))
    with pytest.raises(ValueError, match=f"^{message}$"):
        synthetic.backward_mixed(make_span(STEPS), state, mixture)
