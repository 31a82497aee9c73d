"""The loss that predictions add up to: that of true gradients is the loss itself, and zeros have none."""

from dataclasses import replace

import pytest
import torch
from known import Oracle, Table, Zero, bare, linear_text, oracle
from models import LinearCore, half_squared_error, make_core, make_span, make_state, squared_error
from tolerances import assert_close
from torch import Tensor

from sgrnn.diagnostics import recovered_loss
from sgrnn.state import State
from sgrnn.synthesizers import Lookahead


def test_the_gradient_of_a_quadratic_adds_up_to_it() -> None:
    """Along a line it is linear, so that a single point would do."""
    core = LinearCore()
    spans, state = linear_text(core, number=5, steps=2, beyond=4)
    exact, zero = oracle(core, half_squared_error, 2, steps=4), bare(core, half_squared_error, 2, Zero())
    r2 = recovered_loss(exact, spans, state, horizon=4, points=1)
    assert_close(r2.value, torch.ones((), dtype=torch.float64))
    assert float(recovered_loss(zero, spans, state, horizon=4).value) == 0
    alone = [span.rows(0, 1) for span in spans]
    with pytest.raises(ValueError, match="of two or more rows"):
        recovered_loss(zero, alone, state[:1], horizon=4)


def test_the_gradient_of_any_loss_nearly_does() -> None:
    model = make_core("own")
    spans = make_span(12, is_last=torch.ones(3, dtype=torch.bool)).divide(4)
    exact = oracle(model, squared_error, 2, steps=5)
    state = make_state(model)
    assert isinstance(state, dict)
    assert len(state["count"].unique()) > 1, "a row's counter is its own, along the whole path"
    r2 = recovered_loss(exact, spans, state, horizon=5, points=6)
    assert float(r2.value) == pytest.approx(1, abs=1e-4)


def random_state() -> Tensor:
    return torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def test_rows_that_begin_anew_do_not_count() -> None:
    """Row 0 and 2 begin a sequence with each span: what is predicted at their boundary has nothing to add up to."""
    core = LinearCore()
    is_last = torch.tensor([True, False, True])
    spans = [
        make_span(4, is_first=[(0, 0), (0, 2)], is_last=is_last, seed=seed, future=make_span(4, seed=4))
        for seed in (2, 3)
    ]

    class Everywhere(Oracle):
        def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
            assert lookahead is not None
            return super().forward(state, replace(lookahead, valid=None))

    exact = bare(core, half_squared_error, 2, Everywhere(core, half_squared_error, steps=4))
    r2 = recovered_loss(exact, spans, random_state(), horizon=4, points=1)
    assert_close(r2.value, torch.ones((), dtype=torch.float64))


def test_of_whole_episodes_nothing_can_be_said() -> None:
    core = LinearCore()
    is_last = torch.ones(3, dtype=torch.bool)
    spans = [make_span(4, is_first=[(0, row) for row in range(3)], is_last=is_last, seed=seed) for seed in (2, 3)]
    for synthesizer in (Zero(), Table(3 * 3, 3)):
        r2 = recovered_loss(bare(core, half_squared_error, 2, synthesizer), spans, random_state(), horizon=4)
        assert r2.value.isnan()
        assert r2.error.isnan()
