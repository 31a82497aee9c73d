"""What runs again draws no other numbers, and computes its parametrized weights anew."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, gradients, make_core, make_span, make_state, squared_error
from tolerances import assert_close, assert_identical
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils import parametrize

from sgrnn.cores import initial_state
from sgrnn.estimators import (
    BPTT,
    Checkpointed,
    ControlVariate,
    Delayed,
    ExactAhead,
    GradientEstimator,
    SyntheticGradients,
    TruncatedBPTT,
)
from sgrnn.estimators.online import RTRL, UORO, SnAp1
from sgrnn.state import State
from sgrnn.synthesizers import MLPSynthesizer

STEPS, WINDOW = 6, 2


class Noisy(nn.Module):
    """A core that drops out by a function, of which no module tells."""

    def __init__(self) -> None:
        super().__init__()
        self.core = make_core("LSTM-1")

    def initial_state(self, batch_size: int) -> State:
        return initial_state(self.core, batch_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return self.core(dropout(inputs, 0.5, self.training), state)


def synthetic(model: nn.Module, **options: Any) -> SyntheticGradients:
    return SyntheticGradients(model, squared_error, WINDOW, synthesizer=MLPSynthesizer(2 * SIZE), **options).double()


@pytest.mark.parametrize(
    "make",
    [
        lambda model: ExactAhead(model, squared_error, WINDOW, 3),
        lambda model: ControlVariate(synthetic(model), true_share=0.5),
        lambda model: Delayed(synthetic(model), delay=WINDOW),
        lambda model: RTRL(model, squared_error),
    ],
)
def test_a_model_that_draws_by_itself_is_refused_where_it_runs_again(
    make: Callable[[nn.Module], GradientEstimator],
) -> None:
    model, span = Noisy(), make_span(STEPS + 3)
    steps = WINDOW if isinstance(make(model), Delayed) else STEPS
    with pytest.raises(ValueError, match="the model draws random numbers by itself, which would be others then: let"):
        make(model).backward(span.slice(0, steps), make_state(model))
    model.eval()
    make(model).backward(span.slice(0, steps), make_state(model))


def test_windows_of_a_model_that_draws_by_itself_run_in_order() -> None:
    model, span = Noisy(), make_span(STEPS)
    found = []
    for parallel in (None, None, False):
        model.zero_grad()
        torch.manual_seed(3)
        step = TruncatedBPTT(model, squared_error, WINDOW, parallel=parallel).backward(span, make_state(model))
        found.append([vars(step), gradients(model), torch.get_rng_state()])
    assert_identical(found[0], found[2])
    assert_identical(found[1], found[2])
    with pytest.raises(ValueError, match="the model draws random numbers by itself when it runs, and would twice"):
        TruncatedBPTT(model, squared_error, WINDOW, parallel=True).backward(span, make_state(model))
    calls: list[nn.Module] = []
    model.register_forward_hook(lambda called, *_: calls.append(called))
    TruncatedBPTT(model, squared_error, WINDOW, parallel=None).backward(span, make_state(model))
    assert len(calls) == STEPS / WINDOW  # which is known by now


class Lazy(Noisy):
    """A core that draws its parameters when it is called for the first time, and nothing later."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.LazyLinear(SIZE, dtype=torch.float64)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return self.core(self.read(inputs), state)


@pytest.mark.parametrize(
    "make",
    [
        lambda model: ExactAhead(model, squared_error, WINDOW, 3),
        lambda model: TruncatedBPTT(model, squared_error, WINDOW, parallel=True),
        lambda model: RTRL(model, squared_error),
    ],
)
def test_a_model_that_draws_at_its_first_call_alone_is_no_such_model(
    make: Callable[[nn.Module], GradientEstimator],
) -> None:
    model = Lazy()
    assert make(model).backward(make_span(STEPS + 3).slice(0, STEPS), make_state(model)).loss.isfinite()


class Turned(nn.Module):
    """A core with a recurrent weight that is a function of its parameter, as an orthogonal one is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read, self.recur = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE, bias=False)
        parametrize.register_parametrization(self.recur, "weight", nn.Tanh())
        self.double()

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        state = inputs.new_zeros(ROWS, SIZE) if state is None else state
        outputs = []
        for step in inputs:
            state = torch.tanh(self.read(step) + self.recur(state))
            outputs.append(state)
        return torch.stack(outputs), state


@pytest.mark.parametrize(
    "make",
    [
        lambda model, loss: BPTT(model, loss),
        lambda model, loss: TruncatedBPTT(model, loss, WINDOW, parallel=True),
        lambda model, loss: TruncatedBPTT(model, loss, WINDOW, low_memory=True),
        lambda model, loss: Checkpointed(model, loss, WINDOW),
        lambda model, loss: ExactAhead(model, loss, WINDOW, 3),
        lambda model, loss: RTRL(model, loss),
        lambda model, loss: SnAp1(model, loss),
        lambda model, loss: UORO(model, loss),
    ],
)
def test_weights_that_torch_caches_have_their_gradient(make: Callable[..., GradientEstimator]) -> None:
    output = nn.Linear(SIZE, SIZE).double()
    parametrize.register_parametrization(output, "weight", nn.Tanh())

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(output(outputs), targets)

    found = []
    for cached in (False, True):
        model = Turned()
        output.zero_grad()
        torch.manual_seed(2)
        estimator, span = make(model, loss), make_span(STEPS + 3).slice(0, STEPS)
        if cached:
            with parametrize.cached():
                estimator.backward(span)
        else:
            estimator.backward(span)
        found.append([gradients(model), gradients(output)])
        assert all(each.any() for each in found[-1][0].values())
    assert_close(found[1], found[0])
