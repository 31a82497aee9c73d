"""State health: gates as the equations have them, and predictions that are known to drift."""

from typing import Any

import pytest
import torch
from known import bare
from models import CORES, SIZE, LinearCore, half_squared_error, make_core, make_span, make_state, squared_error
from torch import Tensor, nn

from sgrnn.diagnostics import measure_health
from sgrnn.estimators import TruncatedBPTT
from sgrnn.span import Span
from sgrnn.state import to_matrix


class Says(nn.Module):
    """Predicts what a function makes of the state."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, state: Any, lookahead: Any = None) -> Tensor:
        return self.function(to_matrix(state)).unsqueeze(1)


def spans_of(number: int, steps: int, rows: int) -> tuple[list[Span], Tensor]:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(number, steps, rows, SIZE, dtype=torch.float64, generator=generator)
    return [Span(each, each) for each in inputs], torch.randn(rows, SIZE, dtype=torch.float64, generator=generator)


def health_of(function: Any) -> Any:
    core = LinearCore()
    spans, state = spans_of(6, 2, 40)
    return measure_health(bare(1, Says(function)), core, half_squared_error, spans, state)


def test_a_prediction_that_is_the_same_for_all_rows_is_common_to_all() -> None:
    found = health_of(lambda state: torch.ones_like(state) * 2)
    assert float(found.common.value[0]) == pytest.approx(1)
    assert float(found.size.value[0]) == pytest.approx(2 * SIZE**0.5)


def test_of_random_predictions_nothing_is_common() -> None:
    found = health_of(torch.randn_like)
    assert float(found.common.value[0]) < 0.1
    assert float(found.radial.value[0]) == pytest.approx(1 / SIZE, abs=0.1)


def test_a_prediction_along_the_state_would_grow_it() -> None:
    assert float(health_of(lambda state: -3 * state).radial.value[0]) == pytest.approx(1)


def test_norms_are_those_of_the_states_at_the_boundaries() -> None:
    core = LinearCore()
    spans, state = spans_of(3, 2, 5)
    found = measure_health(TruncatedBPTT(2), core, half_squared_error, spans, state)
    seen = []
    for span in spans:
        seen.append(state)
        state = core(span.inputs, state)[1].detach()
        seen.append(state)
    assert float(found.norm.value[0]) == pytest.approx(float(torch.stack(seen).norm(dim=2).mean()))
    assert not found.gates
    assert float(found.size.value[0]) == float(found.radial.value[0]) == 0


@pytest.mark.parametrize("core", [name for name in CORES if "-" in name])
def test_gates_are_those_of_the_equations(core: str) -> None:
    model = make_core(core)
    span, state = make_span(4, is_last=torch.ones(3, dtype=torch.bool)), make_state(model)
    found = measure_health(TruncatedBPTT(4), model, squared_error, [span], state).gates
    expected: dict[str, list[Tensor]] = {}
    kind = core.removeprefix("nn.").split("-")[0]
    layers = int(core.split("-")[1])
    hidden, cell = state if isinstance(state, tuple) else (state, state)
    hidden, cell = list(hidden), list(cell)
    weights = [
        [dict(model.named_parameters())[
            f"{part}_l{layer}" if core.startswith("nn.") else f"layers.{layer}.{part}_l0"
        ] for part in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
        for layer in range(layers)
    ]  # fmt: skip
    for step in span.inputs:
        below = step
        for layer, (W_i, b_i, W_h, b_h) in enumerate(weights):
            read, carried = below @ W_i.T + b_i, hidden[layer] @ W_h.T + b_h
            if kind == "LSTM":
                i, f, g, o = (read + carried).chunk(4, dim=1)
                gates = {"input": i.sigmoid(), "forget": f.sigmoid(), "output": o.sigmoid()}
                cell[layer] = gates["forget"] * cell[layer] + gates["input"] * g.tanh()
                below = gates["output"] * cell[layer].tanh()
            elif kind == "GRU":
                r, z = (read + carried)[:, : 2 * SIZE].sigmoid().chunk(2, dim=1)
                gates = {"reset": r, "update": z}
                n = (read[:, 2 * SIZE :] + r * carried[:, 2 * SIZE :]).tanh()
                below = (1 - z) * n + z * hidden[layer]
            else:
                below = (read + carried).tanh()
                gates = {"unit": below.abs()}
            hidden[layer] = below
            for name, values in gates.items():
                expected.setdefault(name if layers == 1 else f"{layer + 1} {name}", []).append(values.detach())
    assert list(found) == list(expected)
    for name, values in expected.items():
        seen = torch.stack(values)
        gate = found[name]
        assert gate.mean == pytest.approx(float(seen.mean()))
        assert gate.closed == pytest.approx(float((seen < 0.1).double().mean()))
        assert gate.open == pytest.approx(float((seen > 0.9).double().mean()))


def test_no_spans_are_refused() -> None:
    with pytest.raises(ValueError, match="spans must be at least one, got none"):
        measure_health(TruncatedBPTT(1), LinearCore(), half_squared_error, [], torch.zeros(1, SIZE).double())
