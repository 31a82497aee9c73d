"""Windows that go backwards one after another equal those of a span at once, and few of them have a graph at a time."""

import weakref
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from models import (
    SIZE,
    as_if_trained,
    divide,
    gradients,
    make_core,
    make_language_model,
    make_span,
    make_state,
    make_text,
    squared_error,
)
from tolerances import assert_close
from torch import Tensor, nn
from torch.distributions import OneHotCategorical

from sgrnn.cores import LSTM, HierarchicalCore
from sgrnn.estimators import GradientEstimator, Mixed, SyntheticGradients, TruncatedBPTT, schedules
from sgrnn.estimators.mixture import Mixture
from sgrnn.sequences import spans
from sgrnn.span import Span
from sgrnn.state import State, state_size
from sgrnn.synthesizers import AdjointSynthesizer, ErrorSynthesizer, MLPSynthesizer, Synthesizer

LENGTHS = [7, 11, 5]  # of the spans
STARTS = [(0, 1), (3, 0), (5, 2), (7, 2), (13, 1), (16, 0), (18, 0), (18, 1)]
MakeSynthesizer = Callable[[nn.Module, int], Synthesizer]


class Normed(nn.Module):
    """A core behind batch statistics, which every window takes in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.core = nn.BatchNorm1d(SIZE), LSTM(SIZE, SIZE)

    def initial_state(self, batch_size: int) -> State:
        return self.core.initial_state(batch_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return self.core(self.norm(inputs.flatten(0, 1)).view_as(inputs), state)


def of_errors(model: nn.Module, lookahead: int) -> Synthesizer:
    return ErrorSynthesizer(state_size(make_state(model)), SIZE, SIZE, lookahead=lookahead, hidden_size=8, rank=4)


def of_states(model: nn.Module, lookahead: int) -> Synthesizer:
    return MLPSynthesizer(state_size(make_state(model)), (8,), lookahead=lookahead, feature_size=6, auxiliary=True)


def make_spans(case: str) -> list[Span]:
    """Consecutive ones, with beginnings, padding or ends as the case has it."""
    if case == "padding":
        inputs, targets = make_span(30).inputs, make_span(30, seed=3).inputs
        return list(spans(inputs, targets, steps=11, lookahead=8, lengths=[30, 17, 4]))
    is_last = torch.tensor([True, False, True]) if case == "starts" else None
    whole = make_span(sum(LENGTHS), is_first=STARTS if case == "starts" else None, is_last=is_last)
    return divide(whole.with_future(make_span(9, seed=8)), LENGTHS, futures=True)


def train(estimator: GradientEstimator, given: list[Span], state: State) -> Any:
    """All that a span leaves behind, for each of them in turn."""
    found = []
    for span in given:
        estimator.model.zero_grad()
        estimator.zero_grad()
        step = estimator.backward(span, state)
        state = step.state
        buffers = [dict(estimator.named_buffers()), dict(estimator.model.named_buffers())]
        found.append([gradients(estimator.model), gradients(estimator), vars(step), *deepcopy(buffers)])
    return found


@pytest.mark.parametrize(
    ("core", "case", "window", "lookahead", "make", "options"),
    [
        ("LSTM-2", "plain", 5, 8, of_errors, {}),
        ("GRU-1", "plain", 1, 3, of_errors, {"discount": 0.8, "remove_radial": False}),
        ("hierarchy 1, 4", "starts", 2, 3, of_errors, {}),
        ("hierarchy 1, 2, 3", "plain", 5, 8, of_errors, {"shrinkage": True}),
        ("own", "starts", 3, 8, of_errors, {}),
        ("own", "padding", 5, 8, of_errors, {}),
        ("nn.LSTM-2", "padding", 1, 5, of_errors, {"parallel": None}),
        ("LSTM-1", "starts", 5, 5, of_errors, {"run_ahead": 2}),
        ("RNN-3", "plain", 2, 8, of_errors, {"run_ahead": 0}),
        ("LSTM-1", "starts", 20, 8, of_errors, {}),
        ("LSTM-2", "starts", 5, 0, of_states, {}),
        ("GRU-2", "padding", 1, 3, of_states, {}),
        ("normed", "plain", 3, 4, of_errors, {}),
    ],
)
def test_the_numbers_are_those_of_the_span_at_once(
    core: str, case: str, window: int, lookahead: int, make: MakeSynthesizer, options: dict[str, Any]
) -> None:
    found: list[Any] = []
    options = {"shrinkage": False} | options
    for low_memory in (False, True):
        torch.manual_seed(0)
        model = Normed().double() if core == "normed" else make_core(core)
        estimator = as_if_trained(
            SyntheticGradients(
                model, squared_error, window, synthesizer=make(model, lookahead), low_memory=low_memory, ema_decay=0.7,
                **options,
            )
        )  # fmt: skip
        found.append(train(estimator, make_spans(case), make_state(model)))
    assert float(found[0][0][2]["metrics"]["injected_share"]) > 0
    assert_close(found[1], found[0])


@pytest.mark.parametrize(
    ("core", "case", "window"), [("LSTM-2", "starts", 5), ("own", "padding", 1), ("GRU-1", "plain", 3)]
)
def test_truncation_is_the_same(core: str, case: str, window: int) -> None:
    model = make_core(core)
    whole, parts = (
        train(TruncatedBPTT(model, squared_error, window, low_memory=low), make_spans(case), make_state(model))
        for low in (False, True)
    )
    assert_close(parts, whole)


@pytest.mark.parametrize("synthetic", [True, False])
def test_masks_are_drawn_alike_and_inputs_have_their_gradients(synthetic: bool) -> None:
    """The inputs' graph is one for all windows, and the first span is run once more, to know its unit."""
    found = []
    for low_memory in (False, True):
        model = make_language_model(LSTM(SIZE, SIZE, 2, dropout=0.4), dropout=0.3)
        core, encoder = model.core, nn.Linear(SIZE, SIZE).double()
        nn.init.constant_(encoder.weight, 0.3)
        estimator: GradientEstimator = TruncatedBPTT(core, squared_error, 3, low_memory=low_memory)
        if synthetic:
            made = SyntheticGradients(core, squared_error, 3, synthesizer=of_errors(core, 4), low_memory=low_memory)
            estimator = as_if_trained(made)
        torch.manual_seed(3)
        given = [Span(encoder(each.inputs), each.targets, future=each.future) for each in make_spans("plain")]
        found.append([train(estimator, given, make_state(core)), gradients(encoder)])
    assert found[0][1]["weight"].any()
    assert_close(found[1], found[0])


def test_masks_of_a_span_are_the_same_where_a_level_ticks_after_the_first_window() -> None:
    found = []
    for low_memory in (False, True):
        torch.manual_seed(0)
        core = HierarchicalCore([LSTM(SIZE + 2, SIZE), LSTM(SIZE, 2, weight_dropout=0.5)], [1, 4])
        model = make_language_model(core, dropout=0.3, locked_dropout=True)
        torch.manual_seed(1)
        estimator = TruncatedBPTT(model, model.loss, 2, low_memory=low_memory)
        found.append(train(estimator, [make_text(8)], model.initial_state(3)))
    assert_close(found[1], found[0])


def test_a_longer_window_of_a_grounded_span_and_a_share_of_synthetic_gradients() -> None:
    found = []
    for low_memory in (False, True):
        model = make_core("LSTM-1")
        synthetic = as_if_trained(
            SyntheticGradients(model, squared_error, 2, synthesizer=of_errors(model, 3), low_memory=low_memory)
        )
        mixed = Mixed(synthetic, schedules.Ramp(stop=2), real_window=2, ground_every=2, ground_window=4)
        found.append(train(mixed, make_spans("plain"), make_state(model)))
    assert [float(each[2]["metrics"]["share"]) for each in found[0]] == [0, 0.5, 1]
    assert_close(found[1], found[0])


@pytest.mark.parametrize("where", ["inputs", "targets", "future", "state"])
def test_what_is_not_finite_takes_no_part_in_either(where: str) -> None:
    found = []
    for low_memory in (False, True):
        model = make_core("LSTM-1")
        estimator = as_if_trained(
            SyntheticGradients(model, squared_error, 3, synthesizer=of_errors(model, 4), low_memory=low_memory)
        )
        (span,), state = make_spans("plain")[:1], make_state(model)
        assert span.future is not None
        place = {"inputs": span.inputs, "targets": span.targets, "future": span.future.inputs, "state": state[0]}[where]
        place[-1 if where == "state" else 4 if where != "future" else 1, 1] = torch.nan
        found.append(train(estimator, [span], state))
        rows = [buffer.isfinite().all() for buffer in estimator.buffers()]
        assert all(rows)
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-12, equal_nan=True)


class Counted:
    """Counts the windows whose graphs hold a tensor: what a core has saved for its backward pass."""

    def __init__(self, core: nn.Module) -> None:
        self.most, self.windows = 0, 0
        self._saved: list[weakref.ref[Any]] = []
        self._of: dict[int, int] = {}
        core.register_forward_pre_hook(self._begin)
        core.register_forward_hook(self._end)
        self._hooks: Any = None

    def _begin(self, *_: Any) -> None:
        if torch.is_grad_enabled():
            self.windows += 1
            self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda held: held.tensor)
            self._hooks.__enter__()

    def _end(self, *_: Any) -> None:
        if self._hooks is not None:
            self._hooks.__exit__(None, None, None)
            self._hooks = None
            alive = {self._of[id(one)] for each in self._saved if (one := each()) is not None}
            self.most = max(self.most, len(alive))

    def _pack(self, tensor: Tensor) -> Any:
        held = Held(tensor)
        self._of[id(held)] = self.windows
        self._saved.append(weakref.ref(held))
        return held


class Held:
    """A tensor that a graph has saved."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


@pytest.mark.parametrize(
    ("window", "lookahead", "expected"), [(5, 8, 3), (5, 5, 2), (1, 3, 4), (4, 1, 2), (3, 0, 1), (5, None, 1)]
)
def test_few_windows_have_a_graph_at_a_time_however_long_the_span(
    window: int, lookahead: int | None, expected: int
) -> None:
    """ceil(n/T) + 1 of them; None for truncation."""
    for steps in (41, 83):
        model = make_core("LSTM-2")
        estimator: GradientEstimator = TruncatedBPTT(model, squared_error, window, low_memory=True)
        if lookahead is not None:
            synthesizer = of_errors(model, lookahead) if lookahead else of_states(model, 0)
            estimator = SyntheticGradients(
                model, squared_error, window, synthesizer=synthesizer, low_memory=True
            ).double()  # fmt: skip
        counted = Counted(model)
        estimator.backward(make_span(steps, future=make_span(8)), make_state(model))
        assert counted.windows == -(-steps // window)
        assert counted.most == expected


def test_a_span_at_once_keeps_all_graphs() -> None:
    model = make_core("LSTM-2")
    counted = Counted(model)
    TruncatedBPTT(model, squared_error, 5).backward(make_span(41), make_state(model))
    assert (counted.windows, counted.most) == (9, 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parallel": True}, "where parallel is True, which runs all windows at once"),
        ({"remove_mean": True}, "with remove_mean, which needs all boundaries of a span at once"),
        ({"shuffle": True}, "with shuffle, which needs all boundaries of a span at once"),
        ({"trace_decay": 0.5}, "with trace_decay, which needs all boundaries of a span at once"),
        ({"synthesizer": "adjoint"}, "with an AdjointSynthesizer, which needs all boundaries of a span at once"),
    ],
)
def test_what_needs_all_windows_at_once_is_refused(options: dict[str, Any], message: str) -> None:
    model = make_core("LSTM-1")
    synthesizer = of_errors(model, 3)
    if "synthesizer" in options:
        synthesizer = AdjointSynthesizer(2 * SIZE, SIZE, SIZE, window=3)
    with pytest.raises(ValueError, match=f"^low_memory must be False {message}$"):
        SyntheticGradients(
            model, squared_error, 3, **{**options, "synthesizer": synthesizer}, low_memory=True
        )  # fmt: skip
    if "parallel" in options:
        with pytest.raises(ValueError, match=f"^low_memory must be False {message}$"):
            TruncatedBPTT(model, squared_error, 3, low_memory=True, **options)


def test_real_gradients_that_cross_boundaries_are_refused() -> None:
    model = make_core("LSTM-1")
    synthetic = SyntheticGradients(model, squared_error, 3, synthesizer=of_errors(model, 3), low_memory=True)
    for real_window in (None, 6):
        message = f"low_memory must be False where real gradients cross .* to the window, 3 steps, got {real_window}"
        with pytest.raises(ValueError, match=f"^{message}$"):
            Mixed(synthetic, schedules.Constant(0.5), real_window=real_window)
    Mixed(synthetic, schedules.Constant(), ground_every=2, ground_window=6)
    with pytest.raises(ValueError, match=r"^low_memory must be False with real gradients .*, which"):
        synthetic.backward_mixed(make_spans("plain")[0], make_state(model), Mixture(0.5))
    with pytest.raises(ValueError, match=r"^the synthesizer looks 3 steps ahead, so .*"):
        synthetic.double().backward(make_span(5), make_state(model))


class Actor(nn.Module):
    """A core that hands out the actions it draws, and the chances it draws them by."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(SIZE, SIZE)

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(1, batch_size, SIZE, dtype=torch.float64)

    def forward(self, inputs: Tensor, state: State) -> tuple[dict[str, Tensor], State]:
        logits, state = self.core(inputs, state)
        return {"logits": logits, "action": OneHotCategorical(logits=logits).sample()}, state


def test_a_loss_that_insists_on_outputs_as_the_model_makes_them_is_called_window_by_window() -> None:
    def loss(outputs: dict[str, Tensor], rewards: Tensor) -> Tensor:
        return -OneHotCategorical(logits=outputs["logits"]).log_prob(outputs["action"]) * rewards[..., 0]

    model, span, found = Actor().double(), make_span(6), []
    for low_memory in (False, True):
        model.zero_grad()
        torch.manual_seed(1)
        estimator = TruncatedBPTT(model, loss, 2, parallel=False, low_memory=low_memory)
        step = estimator.backward(span, model.initial_state(span.batch_size))
        found.append([step.loss, gradients(model)])
    assert_close(*found)
