"""More of what models may do, each once: structure, wrappers, marks, later changes, and the online estimators."""

import math
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, VOCABULARY, gradients, make_language_model, make_span, make_state, squared_error
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.estimators import BPTT, ExactAhead, GradientEstimator, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.online import RTRL, SnAp1
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.synthesizers import ErrorSynthesizer
from sgrnn.synthesizers.interface import Interface
from sgrnn.synthesizers.lookahead import Lookahead

STEPS = 6


def make_whole() -> Span:
    whole = make_span(STEPS + 3)
    return Span(whole.inputs[:STEPS], whole.targets[:STEPS], future=Span(whole.inputs[STEPS:], whole.targets[STEPS:]))


def synthetic(state_size: int, **options: Any) -> SyntheticGradients:
    torch.manual_seed(1)
    synthesizer = ErrorSynthesizer(state_size, SIZE, lambda inputs: inputs, SIZE, steps=3)
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return SyntheticGradients(2, synthesizer, shrinkage=False, **options).double()


class InDict(nn.Module):
    """Its state in a dict, handed back in this order or the other."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm, self.turned = nn.LSTM(SIZE, SIZE), turned

    def forward(self, inputs: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        outputs, (hidden, cell) = self.lstm(inputs, (state["h"], state["c"]))
        return outputs, {"c": cell, "h": hidden} if self.turned else {"h": hidden, "c": cell}


@pytest.mark.parametrize("name", ["synthetic", "one batch", "trace", "exact"])
def test_the_order_of_a_dict_means_nothing(name: str) -> None:
    found = []
    for turned in (False, True):
        estimator: GradientEstimator = ExactAhead(2, 3)
        if name != "exact":
            estimator = synthetic(2 * SIZE, parallel=name == "one batch", trace_decay=0.5 * (name == "trace"))
        model = InDict(turned).double()
        hidden, cell = make_state(model.lstm)
        estimator.backward(model, squared_error, make_whole(), {"h": hidden, "c": cell})
        found.append(gradients(model))
    assert_close(found[1], found[0])


def test_one_tensor_in_a_tuple_is_the_tensor() -> None:
    class InTuple(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(SIZE, SIZE)

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, tuple[Tensor]]:
            outputs, after = self.gru(inputs, state)
            return outputs, (after,)

    model = InTuple().double()
    step = synthetic(SIZE).backward(model, squared_error, make_whole(), torch.zeros(1, ROWS, SIZE).double())
    assert step.state.shape == (1, ROWS, SIZE)


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


def test_a_batch_first_core_is_refused_for_how_it_is_used_and_not_for_what_it_is() -> None:
    span, state = make_span(ROWS), torch.zeros(1, ROWS, SIZE).double()
    TruncatedBPTT(ROWS).backward(Owner().double(), squared_error, span, state)
    with pytest.raises(ValueError, match="takes the first axis for the batch"):
        TruncatedBPTT(ROWS).backward(Careless().double(), squared_error, span, state)


def test_a_learned_state_for_so_many_rows_is_not_refused() -> None:
    class Fixed(Owner):
        def __init__(self) -> None:
            super().__init__()
            self.beginning = nn.Parameter(torch.zeros(1, ROWS, SIZE))

        def initial_state(self, batch_size: int) -> Tensor:
            return self.beginning[:, :batch_size]

    model = Fixed().double()
    assert TruncatedBPTT(2).backward(model, squared_error, make_span(STEPS), model.initial_state(ROWS))


def test_complex_states_and_states_written_through_data_are_refused() -> None:
    class Behind(Owner):
        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            outputs, after = super().forward(inputs, state)
            state.data.copy_(after.detach())
            return outputs, after

    with pytest.raises(ValueError, match="writes into the state"):
        BPTT().backward(Behind().double(), squared_error, make_span(4), torch.ones(1, ROWS, SIZE).double())
    with pytest.raises(ValueError, match=r"state must be real, got torch\.complex64"):
        BPTT().backward(Owner(), squared_error, make_span(4), torch.zeros(1, ROWS, SIZE, dtype=torch.complex64))


def test_a_mark_for_a_missing_target_does_not_shut_the_synthesizer_out() -> None:
    found = []
    for mark in (0.0, math.nan):
        torch.manual_seed(0)
        core = LSTM(SIZE, SIZE).double()
        span = make_whole()
        span.targets[::2] = mark

        def loss(outputs: Tensor, targets: Tensor, mark: float = mark) -> Tensor:
            there = targets != 0 if mark == 0 else ~targets.isnan()
            return ((outputs - targets.nan_to_num()) * there).square().sum(-1)

        step = synthetic(2 * SIZE).backward(core, loss, span, make_state(core))
        found.append((gradients(core), step.metrics["injected_share"]))
    assert float(found[0][1]) > 0
    assert_close(found[1], found[0])


@pytest.mark.parametrize("place", ["future", "padding"])
def test_exact_gradients_of_steps_that_are_no_numbers_are_left_out(place: str) -> None:
    core = LSTM(SIZE, SIZE).double()
    span = make_whole()
    assert span.future is not None
    span.future.inputs[:, 1] = math.nan
    span.future.targets[:, 1] = math.nan
    is_last = torch.tensor([False, True, False]) if place == "padding" else None
    step = ExactAhead(2, 3).backward(
        core, squared_error, Span(span.inputs, span.targets, None, is_last, span.future), make_state(core)
    )
    assert step.loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(core).values())


def test_exact_gradients_of_outputs_beside_the_state_and_of_no_state() -> None:
    class Beside(Owner):
        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Any, Tensor]:
            outputs, after = super().forward(inputs, state)
            return {"out": outputs, "beside": inputs}, after

    model, state = Beside().double(), torch.zeros(1, ROWS, SIZE).double()
    ExactAhead(2, 3).backward(model, lambda o, t: squared_error(o["out"] + o["beside"], t), make_whole(), state)
    plain = Owner().double()
    plain.load_state_dict(model.state_dict())

    span = make_whole()
    assert span.future is not None
    shifted = Span(
        span.inputs,
        span.targets - span.inputs,
        future=Span(span.future.inputs, span.future.targets - span.future.inputs),
    )
    ExactAhead(2, 3).backward(plain, squared_error, shifted, state)
    assert_close(gradients(model), gradients(plain))
    with pytest.raises(ValueError, match="must carry a floating-point state"):
        ExactAhead(2, 3).backward(model, squared_error, make_whole(), ())


def test_a_model_that_is_frozen_later_is_refused_then() -> None:
    core, estimator = nn.GRU(SIZE, SIZE).double(), synthetic(SIZE)
    state = torch.zeros(1, ROWS, SIZE).double()
    estimator.backward(core, squared_error, make_whole(), state)
    with pytest.raises(ValueError, match="reaches none of its parameters"):
        estimator.backward(core.requires_grad_(False), squared_error, make_whole(), state)


@pytest.mark.parametrize("make", [nn.Dropout, lambda rate: nn.GRU(SIZE, SIZE, 2, dropout=rate)])
def test_left_to_choose_windows_run_in_order_where_they_cannot_run_as_one_batch(make: Any) -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = make(0.5)
            self.gru = nn.GRU(SIZE, SIZE, 2)

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            outputs, after = self.gru(inputs, state)
            return self.part(outputs) if isinstance(self.part, nn.Dropout) else self.part(outputs)[0], after

    TruncatedBPTT(2, parallel=None).backward(
        Dropping().double(), squared_error, make_whole(), torch.zeros(2, ROWS, SIZE).double()
    )


def test_an_overridden_or_bare_output_layer_is_that_of_the_loss() -> None:
    class Flat(LanguageModel):
        def logits(self, outputs: Tensor) -> Tensor:
            return 0 * super().logits(outputs)

    model = Flat(VOCABULARY, SIZE, LSTM(SIZE, SIZE), SIZE)
    tokens = torch.zeros(4, ROWS, dtype=torch.long)
    outputs, _ = model(tokens, model.initial_state(ROWS))
    assert_close(model.loss(outputs, tokens), torch.full((4, ROWS), math.log(VOCABULARY)))
    bare = make_language_model(LSTM(SIZE, SIZE), dtype=torch.float32)
    bare.output = nn.Linear(SIZE, VOCABULARY, bias=False)
    assert bare.loss(outputs, tokens).shape == (4, ROWS)


def test_what_an_interface_is_told_may_be_anything() -> None:
    encoder = nn.Linear(SIZE, SIZE).double()
    seen = encoder(torch.randn(2, ROWS, SIZE).double())

    class Told(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(SIZE, SIZE)

        def forward(self, message: Tensor, known: Any) -> Tensor:
            steps = known.inputs[0] if isinstance(known, Lookahead) else 0
            return self.linear(message + steps).unsqueeze(1)

    for known in (Lookahead(seen, seen, None), (None, 3), {"a": None}, [None]):
        received, _ = Interface(Told()).double()(torch.randn(ROWS, SIZE).double(), known)
        received.sum().backward()
    assert encoder.weight.grad is None


def test_one_span_that_is_no_number_leaves_the_pattern_of_snap_1_as_it_was() -> None:
    core, estimator = LSTM(SIZE, SIZE).double(), SnAp1()
    estimator.backward(core, squared_error, make_span(4), make_state(core))
    pattern = estimator.pattern.clone()
    span = make_span(4)
    span.inputs[1, 0, 0] = math.nan
    estimator.backward(core, squared_error, span, make_state(core))
    assert torch.equal(estimator.pattern, pattern)


def test_online_policies_refuse_inputs_with_a_graph() -> None:
    core, span = LSTM(SIZE, SIZE).double(), make_span(4)
    coded = Span(nn.Linear(SIZE, SIZE).double()(span.inputs), span.targets)
    with pytest.raises(ValueError, match=r"inputs carry a graph.*put what computes them into the model"):
        RTRL().backward(core, squared_error, coded, make_state(core))
