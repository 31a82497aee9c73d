"""Models hand back outputs and a state, and leave the state that they are given alone, or are refused."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, gradients, make_core, make_span, make_state, squared_error
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.cores import LSTM, initial_state
from sgrnn.estimators import (
    BPTT,
    Checkpointed,
    ControlVariate,
    ExactAhead,
    GradientEstimator,
    SyntheticGradients,
    TruncatedBPTT,
)
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.online import RTRL
from sgrnn.estimators.schedules import Constant
from sgrnn.span import Span
from sgrnn.synthesizers import ErrorSynthesizer

STEPS = 6


def synthetic(model: nn.Module, state_size: int, **options: Any) -> SyntheticGradients:
    torch.manual_seed(1)
    synthesizer = ErrorSynthesizer(state_size, SIZE, SIZE, lookahead=3)
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter, std=0.3)
    estimator = SyntheticGradients(model, squared_error, 3, synthesizer=synthesizer, shrinkage=False, **options)
    return estimator.double()


ESTIMATORS: dict[str, Callable[[nn.Module, int], GradientEstimator]] = {
    "full": lambda model, size: BPTT(model, squared_error),
    "truncated": lambda model, size: TruncatedBPTT(model, squared_error, 3),
    "truncated, one batch": lambda model, size: TruncatedBPTT(model, squared_error, 3, parallel=True),
    "synthetic": synthetic,
    "synthetic, one batch": partial(synthetic, parallel=True),
    "mixed": lambda model, size: Mixed(synthetic(model, size, trace_decay=0.5), Constant(0.5)),
    "control variate": lambda model, size: ControlVariate(synthetic(model, size), 0.5),
    "checkpointed": lambda model, size: Checkpointed(model, squared_error, 3),
    "overlapping": lambda model, size: TruncatedBPTT(model, squared_error, 10, every=6),
    "exact": lambda model, size: ExactAhead(model, squared_error, 3, 3),
    "online": lambda model, size: RTRL(model, squared_error),
}


def make_estimator(name: str, model: nn.Module, state_size: int = SIZE) -> GradientEstimator:
    return ESTIMATORS[name](model, state_size)


def make_whole(steps: int = STEPS) -> Span:
    return make_span(steps + 3).slice(0, steps)


class Counted(nn.Module):
    """Counts its steps in place."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(SIZE, SIZE)

    def forward(self, inputs: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        outputs, hidden = self.rnn(inputs, state["hidden"])
        steps = state["steps"]
        steps += len(inputs)
        return outputs, {"hidden": hidden, "steps": steps}


@pytest.mark.parametrize("name", ["truncated, one batch", "mixed", "exact", "checkpointed", "overlapping"])
def test_a_counter_that_is_counted_in_place_counts_every_step_once(name: str) -> None:
    estimator = make_estimator(name, Counted().double())
    state = {"hidden": torch.zeros(1, ROWS, SIZE).double(), "steps": torch.zeros(ROWS, 1, dtype=torch.long)}
    given, counts = state["steps"], []
    for _ in range(3):
        state = estimator.backward(make_whole(), state).state
        counts.append(state["steps"].flatten().tolist())
    assert counts == [[6] * ROWS, [12] * ROWS, [18] * ROWS]
    assert not given.any(), "the caller's own tensor stays what it was"


class InPlace(nn.Module):
    """Writes its state in place, or behind autograd's back."""

    def __init__(self, hidden: bool) -> None:
        super().__init__()
        self.rnn, self.is_hidden = nn.GRU(SIZE, SIZE), hidden

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs, after = self.rnn(inputs, state)
        (state.data if self.is_hidden else state).copy_(after.detach())
        return outputs, after


@pytest.mark.parametrize(("name", "hidden"), [("full", True), ("truncated, one batch", False), ("synthetic", False)])
def test_a_state_that_is_written_in_place_is_refused(name: str, hidden: bool) -> None:
    estimator = make_estimator(name, InPlace(hidden).double())
    with pytest.raises(ValueError, match=r"writes into the state that it is given.*clone it before"):
        estimator.backward(make_whole(), torch.ones(1, ROWS, SIZE).double())


class IntoInputs(nn.Module):
    """Scales its inputs where they lie."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(SIZE, SIZE)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.rnn(inputs.mul_(0.5), state)


class Dropping(IntoInputs):
    """Drops its inputs out where they lie, in training."""

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.rnn(nn.functional.dropout(inputs, 0.5, self.training, inplace=True), state)


INTO_INPUTS = r"writes into the inputs (or the state )?that it is given.*clone them before"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_inputs_that_are_written_in_place_are_refused(name: str) -> None:
    """Where windows run as one batch after they ran in order, they would be scaled twice, and nobody told."""
    estimator = make_estimator(name, IntoInputs().double())
    with pytest.raises(ValueError, match=INTO_INPUTS):
        estimator.backward(make_whole(), torch.ones(1, ROWS, SIZE).double())


def test_a_call_in_evaluation_or_on_zeros_does_not_vouch_for_those_in_training() -> None:
    span, state = make_whole(), torch.ones(1, ROWS, SIZE).double()
    with pytest.raises(ValueError, match=INTO_INPUTS):  # its synthesizer's sizes are found by running it on zeros
        SyntheticGradients(IntoInputs().double(), squared_error, 2, parallel=True).backward(span, state)
    core = Dropping().double().eval()
    BPTT(core, squared_error).backward(span, state)
    with pytest.raises(ValueError, match=INTO_INPUTS):
        BPTT(core.train(), squared_error).backward(span, state)
    needed = replace(span, inputs=span.inputs.clone().requires_grad_())
    with pytest.raises(ValueError, match=INTO_INPUTS):  # in autograd's own words a leaf
        BPTT(IntoInputs().double(), squared_error).backward(needed, state)


class OfComplex(IntoInputs):
    """Reads complex numbers."""

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.rnn(torch.view_as_real(inputs)[..., 1], state)


@pytest.mark.parametrize("name", ["full", "truncated, one batch", "checkpointed"])
def test_gradients_reach_what_computes_complex_inputs(name: str) -> None:
    weight, state = torch.ones(SIZE).double().requires_grad_(), torch.ones(1, ROWS, SIZE).double()
    span = replace(make_whole(), future=None)
    of_complex = OfComplex().double()
    inputs = torch.complex(span.inputs, span.inputs * weight)
    make_estimator(name, of_complex).backward(replace(span, inputs=inputs), state)
    found, weight.grad = weight.grad, None
    make_estimator(name, of_complex.rnn).backward(replace(span, inputs=span.inputs * weight), state)
    assert_close(found, weight.grad)


class ComplexOutputs(nn.Module):
    """Hands out a complex reading beside a real one."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(SIZE, SIZE)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Any, Tensor]:
        outputs, state = self.rnn(inputs, state)
        return (outputs, torch.complex(outputs, outputs)), state


@pytest.mark.parametrize("name", ["full", "truncated, one batch", "online"])
def test_complex_outputs_are_refused(name: str) -> None:
    """Their gradient would be lost."""
    estimator = make_estimator(name, ComplexOutputs().double())
    with pytest.raises(ValueError, match=r"model must give real outputs, got torch\.complex128: hand out real"):
        estimator.backward(make_whole(), torch.ones(1, ROWS, SIZE).double())


class PlainCell(nn.Module):
    """Would broadcast a state of one row."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.keep = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for step in inputs:
            state = torch.tanh(self.read(step) + self.keep(state))
            outputs.append(state)
        return torch.stack(outputs), state


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda outputs, state: outputs, r"model must return \(outputs, state\), got a Tensor"),
        (lambda outputs, state: (outputs, state, state), r"model must return \(outputs, state\), got a tuple of 3"),
        (lambda outputs, state: (outputs[-1:], state), r"outputs \(time, batch, ...\), here \(6, 3, ...\)"),
        (lambda outputs, state: (outputs, torch.cat([state, state], dim=-1)), r"of the shape it was given, \(3, 3\)"),
        (lambda outputs, state: (outputs, (state, state)), "a state of as many tensors as it was given, 1, got 2"),
        (lambda outputs, state: (outputs, state.long()), "a state of the kind it was given, torch.float64"),
    ],
)
def test_a_model_must_hand_back_outputs_and_state(returned: Callable[[Tensor, Tensor], Any], message: str) -> None:
    class Odd(PlainCell):
        def forward(self, inputs: Tensor, state: Tensor) -> Any:
            return returned(*super().forward(inputs, state))

    with pytest.raises((TypeError, ValueError), match=message):
        BPTT(Odd().double(), squared_error).backward(make_whole(), torch.zeros(ROWS, SIZE).double())


@pytest.mark.parametrize("name", ["truncated", "synthetic", "online"])
def test_a_state_of_other_rows_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"state holds 1 row, the span 3: state must be .* got \(1, 3\)"):
        make_estimator(name, PlainCell().double()).backward(make_whole(), torch.zeros(1, SIZE).double())


class Reading(nn.Module):
    """Reads tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.gru = nn.Embedding(5, SIZE), nn.GRU(SIZE, SIZE)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.gru(self.embedding(inputs), state)


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        (nn.GRU(SIZE, SIZE), (None, None), "inputs must be in the model's precision, torch.float32, got torch.float64: "
         "convert them"),
        (PlainCell(), (torch.int64, None), "inputs must be in the model's precision, torch.float32, got torch.int64: "
         "convert them"),
        (PlainCell().double(), (None, torch.float32), "state must be in the model's precision, torch.float64, got "
         "torch.float32: convert it, or what initial_state gives"),
        (nn.GRU(SIZE, SIZE).double(), (None, "meta"), "state must be on the model's device, cpu, got meta: move it, or "
         "what initial_state gives"),
        (nn.GRU(SIZE, SIZE).double(), ("meta", None), "inputs must be on the model's device, cpu, got meta: move them"),
    ],
)  # fmt: skip
def test_data_and_state_of_another_precision_or_device_are_named(
    model: nn.Module, change: tuple[Any, Any], message: str
) -> None:
    state = torch.zeros((ROWS, SIZE) if isinstance(model, PlainCell) else (1, ROWS, SIZE)).double()
    given, targets = [make_whole().inputs, state], make_whole().targets
    inputs, state = (tensor if to is None else tensor.to(to) for tensor, to in zip(given, change, strict=True))
    with pytest.raises(ValueError, match=f"^{message}$"):
        BPTT(model, squared_error).backward(Span(inputs, targets), state)


def test_tokens_have_no_precision() -> None:
    tokens, state = torch.zeros(STEPS, ROWS, dtype=torch.long), torch.zeros(1, ROWS, SIZE).double()
    with pytest.raises(ValueError, match=r"^state must be in the model's precision, torch.float32, got torch.float64:"):
        BPTT(Reading(), squared_error).backward(Span(tokens, make_whole().targets), state)


def test_targets_on_another_device_are_named() -> None:
    span, model = make_whole(), nn.GRU(SIZE, SIZE).double()
    message = r"^targets must be on the device of the model's outputs, cpu, got meta: span = span.to\(device\)$"
    with pytest.raises(ValueError, match=message):
        BPTT(model, squared_error).backward(Span(span.inputs, span.targets.to("meta")))


def test_what_fails_for_another_reason_keeps_its_own_words() -> None:
    narrow = Span(torch.zeros(2, ROWS, 1), torch.zeros(2, ROWS, 1))
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        BPTT(PlainCell(), squared_error).backward(narrow, torch.zeros(ROWS, SIZE).double())


class InDict(nn.Module):
    """Its state in a dict, handed back in this order or the other."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm, self.turned = nn.LSTM(SIZE, SIZE), turned

    def forward(self, inputs: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        outputs, (hidden, cell) = self.lstm(inputs, (state["h"], state["c"]))
        return outputs, {"c": cell, "h": hidden} if self.turned else {"h": hidden, "c": cell}


@pytest.mark.parametrize("name", ["synthetic, one batch", "mixed", "exact"])
def test_the_order_of_a_dict_means_nothing(name: str) -> None:
    results = []
    for turned in (False, True):
        model = InDict(turned).double()
        hidden, cell = make_state(model.lstm)
        make_estimator(name, model, 2 * SIZE).backward(make_whole(), {"h": hidden, "c": cell})
        results.append(gradients(model))
    assert_close(results[1], results[0])


def test_one_tensor_in_a_tuple_is_the_tensor() -> None:
    class InTuple(PlainCell):
        def forward(self, inputs: Tensor, state: Tensor) -> Any:
            outputs, after = super().forward(inputs, state)
            return outputs, (after,)

    step = synthetic(InTuple().double(), SIZE).backward(make_whole(), torch.zeros(ROWS, SIZE).double())
    assert step.state.shape == (ROWS, SIZE)


@pytest.mark.parametrize(("name", "state"), [("full", ()), ("truncated, one batch", {}), ("checkpointed", ())])
def test_a_model_without_a_state_is_trained(name: str, state: Any) -> None:
    class FeedForward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(SIZE, SIZE)

        def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
            return self.linear(inputs), state

    model = FeedForward().double()
    span = make_span(STEPS, is_first=[(0, 0), (4, 1)])
    step = make_estimator(name, model).backward(span, state)
    loss = squared_error(model.linear(span.inputs), span.targets).mean()
    assert step.state == state
    assert_close(step.loss, loss.detach())
    assert_close(model.linear.weight.grad, torch.autograd.grad(loss, model.linear.weight)[0])
    for other in ("synthetic", "exact"):
        with pytest.raises(ValueError, match="must carry a floating-point state"):
            make_estimator(other, model).backward(make_whole(), state)


class Wrapped(nn.Module):
    """A model around a core, without its methods."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.inner(inputs, state)


def test_a_wrapper_does_not_hide_the_state_in_which_sequences_begin() -> None:
    core, span = make_core("own"), make_span(STEPS, is_first=[(2, 1)])
    expected = TruncatedBPTT(core, squared_error, 2).backward(span, make_state(core))
    wrapped = nn.DataParallel(core)
    assert_close(TruncatedBPTT(wrapped, squared_error, 2).backward(span, make_state(core)).loss, expected.loss)
    assert_close(initial_state(wrapped, 2), initial_state(core, 2))
    with pytest.raises(ValueError, match=r"Wrapped has no initial_state\(batch_size\) and its part inner has one"):
        TruncatedBPTT(Wrapped(core), squared_error, 2).backward(span, make_state(core))
    lstm = LSTM(SIZE, SIZE).double()
    TruncatedBPTT(Wrapped(lstm), squared_error, 2).backward(span, make_state(lstm))
