"""A model that reads the batch along another axis, or the future, is refused for how it is used."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, make_span, squared_error
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.estimators import BPTT, GradientEstimator, Loss, TruncatedBPTT
from sgrnn.estimators.online import RTRL


@pytest.mark.parametrize(
    ("option", "make"),
    [("batch_first", partial(TruncatedBPTT, window=4, parallel=True)), ("bidirectional", BPTT), ("batch_first", RTRL)],
)
def test_a_core_that_reads_the_batch_first_or_the_future_is_refused(
    option: str, make: Callable[[nn.Module, Loss], GradientEstimator]
) -> None:
    core = nn.LSTM(SIZE, SIZE, **{option: True}).double()  # pyright: ignore[reportArgumentType]  (a bool)
    state = torch.zeros(2 if option == "bidirectional" else 1, 4, SIZE).double()
    for given in ((state, state), None):
        with pytest.raises((TypeError, ValueError), match=option):
            make(core, squared_error).backward(make_span(4, 4), given)


class Owner(nn.Module):
    """A batch-first core in an attribute that has the name of ours, used rightly."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(SIZE, SIZE, batch_first=True)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs, after = self.core(inputs.transpose(0, 1), state)
        return outputs.transpose(0, 1), after


class Careless(Owner):
    """The same, used wrongly, with an initial state that tells nothing of it."""

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(1, batch_size, SIZE).double()

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.core(inputs, state)


def test_a_batch_first_core_inside_is_refused_for_how_it_is_used_and_not_for_what_it_is() -> None:
    span, state = make_span(ROWS), torch.zeros(1, ROWS, SIZE).double()
    TruncatedBPTT(Owner().double(), squared_error, ROWS).backward(span, state)
    with pytest.raises(ValueError, match=r"takes the first axis for the batch \(batch_first\)"):
        TruncatedBPTT(Careless().double(), squared_error, ROWS).backward(span, state)


def test_a_batch_first_core_inside_is_refused_where_a_window_has_as_many_steps_as_rows() -> None:
    """The state's sizes tell its batch: only the inputs may be read either way."""
    state = torch.zeros(1, 4, SIZE).double()
    with pytest.raises(ValueError, match=r"takes the first axis for the batch \(batch_first\)"):
        TruncatedBPTT(Careless().double(), squared_error, 4).backward(make_span(8, 4), state)


class StateBatchFirst(nn.Module):
    """Holds its state (batch, layers, hidden)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(SIZE, SIZE, 2)

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        outputs, after = self.lstm(inputs, tuple(part.transpose(0, 1).contiguous() for part in state))
        return outputs, tuple(part.transpose(0, 1) for part in after)


def test_a_state_of_another_layout_is_refused_where_the_sizes_do_not_tell() -> None:
    model = StateBatchFirst().double()
    with pytest.raises(ValueError, match="this model has it at axis 0"):
        TruncatedBPTT(model, squared_error, 3).backward(make_span(6, 2), (torch.zeros(2, 2, SIZE).double(),) * 2)
    with pytest.raises(ValueError, match=r"state holds 2 rows, the span 1: .* got \(1, 2, 3\)"):
        TruncatedBPTT(model, squared_error, 3).backward(make_span(6, 1), (torch.zeros(1, 2, SIZE).double(),) * 2)


def test_states_of_one_axis_or_of_complex_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^state must be \(..., batch, features\).*, got \(3,\)$"):
        BPTT(Owner(), squared_error).backward(make_span(4), torch.zeros(ROWS))
    with pytest.raises(ValueError, match=r"state must be real, got torch\.complex64"):
        BPTT(Owner(), squared_error).backward(make_span(4), torch.zeros(1, ROWS, SIZE, dtype=torch.complex64))


def test_a_model_made_for_so_many_rows_alone_is_not_refused() -> None:
    class Fixed(Owner):
        def __init__(self) -> None:
            super().__init__()
            self.beginning = nn.Parameter(torch.zeros(1, ROWS, SIZE))

        def initial_state(self, batch_size: int) -> Tensor:
            return self.beginning[:, :batch_size]

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(inputs, state.view(1, ROWS, SIZE))

    model = Fixed().double()
    for window in (2, ROWS):
        assert TruncatedBPTT(model, squared_error, window).backward(make_span(6), model.initial_state(ROWS).detach())


@pytest.mark.parametrize(
    ("inputs", "state", "message"),
    [
        ((4, ROWS, 4), (1, ROWS, SIZE), r"inputs must be \(time, batch, 3\), got \(4, 3, 4\)"),
        ((1, ROWS, SIZE), (2, ROWS, SIZE), r"state must be \(1, 3, 3\), \(layers, batch, hidden\), got \(2, 3, 3\)"),
    ],
)
def test_a_core_names_the_sizes_it_was_made_for(inputs: Any, state: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LSTM(SIZE, SIZE)(torch.zeros(inputs), (torch.zeros(state),) * 2)


def test_a_batch_first_core_inside_is_refused_where_sequences_begin_and_cut_a_window() -> None:
    """Into as many steps as there are rows: the calls, and not the window, are what could be misread."""
    span = make_span(8, 4, is_first=[(4, 1)])
    with pytest.raises(ValueError, match="batch_first"):
        BPTT(Careless().double(), squared_error).backward(span, torch.zeros(1, 4, SIZE).double())
