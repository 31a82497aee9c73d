"""State health: norms as the states have them, and predictions that are known to drift."""

from typing import Any

import pytest
import torch
from known import bare
from models import SIZE, LinearCore, half_squared_error, make_span, make_state, squared_error
from tolerances import assert_identical
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.diagnostics import measure_alignment, measure_bias, measure_health, recovered_loss
from sgrnn.estimators import TruncatedBPTT
from sgrnn.span import Span
from sgrnn.state import State, to_matrix
from sgrnn.synthesizers import Lookahead, Synthesizer


class Function(Synthesizer):
    """Predicts by a function of the state."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        return self.function(to_matrix(state)).unsqueeze(1)


def spans_of(number: int, steps: int, rows: int) -> tuple[list[Span], Tensor]:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(number, steps, rows, SIZE, dtype=torch.float64, generator=generator)
    return [Span(each, each) for each in inputs], torch.randn(rows, SIZE, dtype=torch.float64, generator=generator)


def health_of(function: Any, rows: int = 40) -> Any:
    core = LinearCore()
    spans, state = spans_of(6, 2, rows)
    return measure_health(bare(core, half_squared_error, 1, Function(function)), spans, state)


def test_predictions_that_are_common_to_all_rows_random_or_along_the_state() -> None:
    same = health_of(lambda state: torch.ones_like(state) * 2)
    assert float(same.common.value[0]) == pytest.approx(1)
    assert float(same.size.value[0]) == pytest.approx(2 * SIZE**0.5)
    random = health_of(torch.randn_like)
    assert float(random.common.value[0]) < 0.1
    assert float(random.radial.value[0]) == pytest.approx(1 / SIZE, abs=0.1)
    assert float(health_of(lambda state: -3 * state).radial.value[0]) == pytest.approx(1), "it would grow the state"


def test_what_few_rows_have_in_common_is_counted_between_different_rows() -> None:
    """Half of 12 predictions are (2, 0, 0), the others (0, 1, 0): of 11 others 5 are along with each."""

    def by_turns(state: Tensor) -> Tensor:
        return torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=state.dtype).repeat(len(state) // 2, 1)

    assert float(health_of(by_turns, rows=4).common.value[0]) == pytest.approx((5 / 11) ** 0.5)


def test_norms_are_those_of_the_states_at_the_boundaries() -> None:
    core = LinearCore()
    spans, state = spans_of(3, 2, 5)
    health = measure_health(TruncatedBPTT(core, half_squared_error, 2), spans, state)
    seen = []
    for span in spans:
        seen.append(state)
        state = core(span.inputs, state)[1].detach()
        seen.append(state)
    assert float(health.norm.value[0]) == pytest.approx(float(torch.stack(seen).norm(dim=2).mean()))
    assert float(health.size.value[0]) == float(health.radial.value[0]) == 0
    ending = Span(spans[0].inputs, spans[0].targets, is_last=torch.tensor([True] * 3 + [False] * 2))
    health = measure_health(TruncatedBPTT(core, half_squared_error, 2), [ending], seen[0])
    kept = torch.cat([seen[0], seen[1][3:]])
    assert float(health.norm.value[0]) == pytest.approx(float(kept.norm(dim=1).mean())), "what ends does not count"
    with pytest.raises(ValueError, match="spans must be at least one, got none"):
        measure_health(TruncatedBPTT(core, half_squared_error, 1), [], state)


def test_nothing_that_measures_changes_a_models_buffers() -> None:
    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core, self.norm = LSTM(SIZE, SIZE), nn.BatchNorm1d(SIZE)

        def initial_state(self, rows: int) -> State:
            return self.core.initial_state(rows)

        def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            outputs, after = self.core(inputs, state)
            return self.norm(outputs.flatten(0, 1)).view_as(outputs), after

    model = Normalized().double()
    estimator = TruncatedBPTT(model, squared_error, 2)
    spans, state = make_span(16).divide(4)[:3], make_state(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    estimator.look(spans[0], state)
    measure_health(estimator, spans, state)
    measure_alignment(estimator, spans, state, lags=[2])
    measure_bias(estimator, spans, state, horizon=4)
    recovered_loss(estimator, spans, state, horizon=2)
    assert_identical(dict(model.named_buffers()), before)
