"""Any core has a first state: its own, or zeros for torch's modules and for what takes None for zeros."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, OwnCore, make_core, make_span, squared_error
from tolerances import assert_close, assert_identical
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from sgrnn.cores import first_state, initial_state
from sgrnn.estimators import BPTT, GradientEstimator, TruncatedBPTT
from sgrnn.estimators.online import RTRL
from sgrnn.state import leaves


def test_torchs_modules_begin_with_the_zeros_they_take_by_default() -> None:
    for core in (nn.LSTM(3, 5, 2), nn.GRU(3, 5), nn.RNN(3, 5), nn.LSTM(3, 5, 2, proj_size=2)):
        core = core.double()
        inputs = torch.randn(2, 4, 3).double()
        state = initial_state(core, 4)
        assert not any(tensor.any() for tensor in leaves(state))
        expected, after = core(inputs)
        assert_identical(core(inputs, state), (expected, after))
        assert [tensor.shape for tensor in leaves(state)] == [tensor.shape for tensor in leaves(after)]


def test_a_module_of_its_own_is_asked() -> None:
    core = OwnCore()
    assert_identical(leaves(initial_state(core, 4)), leaves(core.initial_state(4)))


def test_a_module_that_knows_no_first_state_is_refused_by_name() -> None:
    message = r"^Linear has no initial_state\(batch_size\) and is no torch.nn.LSTM, GRU or RNN$"
    with pytest.raises(TypeError, match=message):
        initial_state(nn.Linear(3, 3), 4)


@pytest.mark.parametrize(
    ("core", "message"),
    [
        (nn.LSTM(3, 5, batch_first=True), "time first: hand over sgrnn.AdaptedCore(core, batch_first=True)"),
        (nn.GRU(3, 5, bidirectional=True), "forwards only: bidirectional must be False"),
    ],
)
def test_what_reads_batch_first_or_backwards_is_refused(core: nn.Module, message: str) -> None:
    with pytest.raises(TypeError, match=f"^a core reads {re.escape(message)}$"):
        initial_state(core, 4)


@pytest.mark.parametrize("name", ["own", "LSTM-2", "nn.LSTM-2", "nn.GRU-1"])
def test_the_first_state_is_the_initial_one_of_as_many_rows_as_the_inputs_have(name: str) -> None:
    core, inputs = make_core(name), make_span(2).inputs
    assert_identical(first_state(core, inputs), initial_state(core, ROWS))
    assert_identical(first_state(nn.DataParallel(core), {"inputs": (inputs,)}), initial_state(core, ROWS))


class OfNone(nn.Module):
    """Makes its state itself where it is given None."""

    def __init__(self, make: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.norm, self.gru, self.dropout = nn.BatchNorm1d(SIZE), nn.GRU(SIZE, SIZE), nn.Dropout(0.5)
        self.make = make

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        hidden, *_ = [self.make(inputs)[None]] if state is None else state
        outputs, hidden = self.gru(self.norm(inputs.flatten(0, 1)).view_as(inputs), hidden)
        return self.dropout(outputs), (hidden, torch.ones(inputs.shape[1], 1, dtype=torch.long))


def test_a_module_that_takes_none_for_zeros_begins_with_them_and_is_left_as_it_is() -> None:
    model = OfNone(lambda inputs: torch.zeros_like(inputs[0])).double()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    random = torch.get_rng_state()
    state = first_state(model, make_span(4).inputs)
    assert_identical(state, (torch.zeros(1, ROWS, SIZE).double(), torch.zeros(ROWS, 1, dtype=torch.long)))
    assert_identical(dict(model.named_buffers()), buffers)
    assert_identical(torch.get_rng_state(), random)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda inputs: torch.ones_like(inputs[0]), ", and begins in no state of zeros"),
        (
            lambda inputs: torch.full_like(inputs[0], len(inputs) - 1),
            ", and begins in no state of zeros",
        ),  # if it is two
        (lambda inputs: inputs.hidden, r", and cannot be called with None for a state \('Tensor' object has no .*\)"),
    ],
)
def test_a_module_that_takes_none_for_anything_else_is_refused_by_name(
    make: Callable[[Any], Tensor], message: str
) -> None:
    remedy = "give it a method initial_state(batch_size), or adapt it by sgrnn.AdaptedCore"
    with pytest.raises(ValueError, match=rf"^OfNone has no initial_state\(batch_size\){message}: {re.escape(remedy)}$"):
        first_state(OfNone(make).double(), make_span(4).inputs)


class Wrapped(nn.Module):
    """Hands everything on, the initial state aside."""

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.core(inputs, state)


@pytest.mark.parametrize(
    ("core", "message"),
    [
        (nn.LSTM(SIZE, 5), "inputs must be in the model's precision, torch.float32, got torch.float64: convert them"),
        (
            nn.LSTM(SIZE, 5, batch_first=True).double(),
            r"Wrapped makes a state \(1, 2, 5\) of 3 rows: it must read inputs \(time, batch, ...\), not .*",
        ),
    ],
)
def test_what_does_not_fit_shows_before_the_first_state_does(core: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        first_state(Wrapped(core), make_span(4).inputs)


def test_in_training_a_step_of_a_single_row_has_batch_statistics_all_the_same() -> None:
    model = OfNone(lambda inputs: torch.zeros_like(inputs[0])).double()
    assert first_state(model, make_span(4, rows=1).inputs)[0].shape == (1, 1, SIZE)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["LSTM-2", "GRU-1", "RNN-1", "hierarchy 1, 4"])
def test_without_a_state_a_core_begins_a_sequence(name: str) -> None:
    core, inputs = make_core(name), make_span(5).inputs
    assert_identical(core(inputs), core(inputs, initial_state(core, ROWS)))
    assert_identical(core(inputs, None), core(inputs, initial_state(core, ROWS)))


class Raised(nn.GRU):
    """One of torch's, with a beginning of its own."""

    def __init__(self) -> None:
        super().__init__(SIZE, SIZE)
        self.beginning = nn.Parameter(torch.ones(SIZE))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.beginning.expand(1, batch_size, SIZE)


def test_a_method_goes_before_the_zeros_of_torchs_own() -> None:
    core = Raised().double()
    assert_identical(initial_state(core, 4), torch.ones(1, 4, SIZE).double())
    BPTT(core, squared_error).backward(make_span(4))
    assert core.beginning.grad is not None


class First(nn.Module):
    """A model that reads off its inputs for how many rows to begin."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(SIZE, SIZE)

    def first_state(self, inputs: Tensor) -> Tensor:
        return inputs.new_ones(1, inputs.shape[1], SIZE)

    def forward(self, inputs: Tensor, state: Tensor) -> Any:
        return self.core(inputs, state)


@pytest.mark.parametrize("make", [BPTT, RTRL])
def test_sequences_begin_in_the_first_state_of_a_model_that_has_one(make: Callable[..., GradientEstimator]) -> None:
    model, span = First().double(), make_span(4)
    outputs, _ = model(span.inputs, model.first_state(span.inputs))
    expected = squared_error(outputs, span.targets).mean()
    assert_close(make(model, squared_error).backward(span).loss, expected.detach())


class Around(nn.Module):
    """A wrapper that begins elsewhere than its core, which lies under any name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        setattr(self, name, nn.GRU(SIZE, SIZE))

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> Any:
        begun = torch.ones(1, inputs.shape[1], SIZE).to(inputs) if state is None else state
        return getattr(self, self.name)(inputs, begun)


def parametrized(module: nn.Module) -> nn.Module:
    """Of a class that torch makes."""
    module.register_parameter("unused", nn.Parameter(torch.ones(2, 2)))
    return parametrizations.orthogonal(module, "unused")


@pytest.mark.parametrize("name", ["rnn", "module", "_orig_mod"])
@pytest.mark.parametrize("change", [lambda module: module, parametrized])
def test_a_part_is_not_asked_in_the_place_of_its_owner_whatever_it_is_called(name: str, change: Any) -> None:
    with pytest.raises(ValueError, match=r" has no initial_state\(batch_size\), and begins in no state of zeros"):
        BPTT(change(Around(name).double()), squared_error).backward(make_span(4))


def test_wrappers_and_classes_made_of_them_are_seen_through() -> None:
    class Own(nn.DataParallel):
        pass

    core = Raised().double()
    for wrapper in (nn.DataParallel(core), Own(core), torch.optim.swa_utils.AveragedModel(core)):
        assert_identical(initial_state(wrapper, 4), torch.ones(1, 4, SIZE).double())  # pyright: ignore


class Captioner(nn.Module):
    """A core whose sequences begin in what it makes of their first input."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.core, self.look = nn.GRU(SIZE, SIZE), nn.Linear(SIZE, SIZE)

    def first_state(self, inputs: Tensor) -> Tensor:
        return self.look(inputs[0])[None]

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.core(inputs, state)


@pytest.mark.parametrize("window", [1, 4, 8])
def test_a_row_that_begins_inside_a_window_begins_in_what_its_own_first_input_makes(window: int) -> None:
    model = Captioner().double()
    span = make_span(8, is_first=[(0, 0), (0, 1), (0, 2), (3, 1), (6, 0)])
    assert span.is_first is not None
    step = TruncatedBPTT(model, squared_error, window).backward(span)
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    state, losses = torch.zeros(1, ROWS, SIZE).double(), []
    for place, (inputs, targets, begins) in enumerate(zip(span.inputs, span.targets, span.is_first, strict=True)):
        state = state.detach() if place % window == 0 else state
        state = torch.where(begins[:, None], model.first_state(inputs[None]), state)
        outputs, state = model(inputs[None], state)
        losses.append(squared_error(outputs, targets[None]))
    loss = torch.cat(losses).mean()
    loss.backward()
    assert_close(step.loss, loss.detach())
    assert_close(found, {name: parameter.grad for name, parameter in model.named_parameters()})


def test_an_online_estimator_carries_no_influence_of_what_a_first_input_makes() -> None:
    model, span = Captioner().double(), make_span(8, is_first=[(0, 0), (0, 1), (0, 2), (3, 1), (6, 0)])
    with pytest.raises(ValueError, match="what first_state makes of the inputs is learned, of which no influence is"):
        RTRL(model, squared_error).backward(span)
    model.look.requires_grad_(False)
    loss = BPTT(model, squared_error).backward(span).loss  # which is compared by hand above
    assert_close(RTRL(model, squared_error).backward(span).loss, loss)
