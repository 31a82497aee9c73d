"""Dropout: its statistics, and masks that are kept and used again."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from tolerances import assert_identical
from torch import Tensor, nn

from sgrnn.cores.dropout import Dropout, recorded_masks, replayed_masks
from sgrnn.cores.locked import dropout_mask
from sgrnn.cores.regularization import require_no_dropout, without_regularization
from sgrnn.estimators import SyntheticGradients
from sgrnn.span import Span


def test_a_share_p_is_zeroed_and_the_mean_kept() -> None:
    torch.manual_seed(0)
    out = Dropout(0.3)(torch.ones(200, 500))
    assert (out == 0).double().mean().item() == pytest.approx(0.3, abs=0.01)
    assert_identical(out[out != 0].unique(), torch.tensor([1 / 0.7]))
    assert out.mean().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_small_probability_is_kept_in_every_precision(precision: torch.dtype) -> None:
    torch.manual_seed(0)
    mask = dropout_mask((1000, 1000), 1e-3, torch.ones((), dtype=precision))
    assert mask.dtype == precision
    assert set(mask.unique().tolist()) == {0.0, torch.tensor(1 / (1 - 1e-3), dtype=precision).item()}
    assert 850 <= int((mask == 0).sum()) <= 1150  # 1,000 expected, five standard deviations on both sides


def test_every_call_draws_anew_and_a_seed_fixes_it() -> None:
    dropout, inputs = Dropout(0.5), torch.ones(10, 10)
    torch.manual_seed(0)
    first, second = dropout(inputs), dropout(inputs)
    torch.manual_seed(0)
    assert not torch.equal(first, second)
    assert_identical(dropout(inputs), first)


def test_nothing_is_done_in_evaluation_or_without_regularization() -> None:
    inputs, state = torch.ones(10, 10), torch.get_rng_state()
    assert Dropout(0.0)(inputs) is inputs
    assert Dropout(0.5).eval()(inputs) is inputs
    assert_identical(torch.get_rng_state(), state)


def test_gradients_pass_where_values_did() -> None:
    inputs = torch.ones(10, 10, requires_grad=True)
    out = Dropout(0.5)(inputs)
    out.sum().backward()
    assert_identical(inputs.grad, out.detach())


def test_it_shows_its_probability_and_refuses_one_out_of_range() -> None:
    assert repr(Dropout(0.25)) == "Dropout(p=0.25)"
    for p in (-0.1, 1.0):
        with pytest.raises(ValueError, match=rf"^dropout must be in \[0, 1\), got {p}$"):
            Dropout(p)


def test_recorded_masks_come_back_joined_along_the_batch_call_by_call() -> None:
    """Three windows of two calls each: the batch sees, at each call, the masks of the three windows side by side."""
    dropout = Dropout(0.5)
    model = nn.Sequential(nn.Linear(2, 2), dropout)
    ones = torch.ones(4, 3, 2)
    with recorded_masks(model):
        drawn = [(dropout(ones), dropout(2 * ones)) for _ in range(3)]
    state = torch.get_rng_state()
    with replayed_masks(model, 3):
        first, second = dropout(torch.ones(4, 9, 2)), dropout(torch.full((4, 9, 2), 2.0))
    assert_identical(torch.get_rng_state(), state)  # nothing new was drawn
    assert_identical(first, torch.cat([one for one, _ in drawn], dim=1))
    assert_identical(second, torch.cat([two for _, two in drawn], dim=1))


def test_afterwards_masks_are_drawn_anew() -> None:
    dropout, ones = Dropout(0.5), torch.ones(10, 3, 10)
    with recorded_masks(dropout):
        dropout(ones)
    with replayed_masks(dropout, 1):
        replayed = dropout(ones)
    assert not torch.equal(dropout(ones), replayed)


def test_a_failure_inside_leaves_neither_recording_nor_replay_behind() -> None:
    dropout, ones = Dropout(0.5), torch.ones(10, 3, 10)
    with recorded_masks(dropout):
        dropout(ones)

    def fail(context: AbstractContextManager[None]) -> None:
        with context:
            dropout(ones)
            raise KeyError

    for context in (replayed_masks(dropout, 1), recorded_masks(dropout)):
        with pytest.raises(KeyError):
            fail(context)
        assert dropout.recording is None
        assert dropout.replaying is None


FOREIGN: dict[str, Callable[[], nn.Module]] = {
    "core.1": lambda: nn.ModuleDict({"core": nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))}),
    "0": lambda: nn.Sequential(nn.LSTM(3, 3, 2, dropout=0.5)),
    "cell": lambda: nn.ModuleDict({"cell": nn.GRU(3, 3, 2, dropout=0.1)}),
    "1": lambda: nn.Sequential(Dropout(0.5), nn.AlphaDropout(0.1)),
    "the model": lambda: nn.LSTM(3, 3, 2, dropout=0.5),
}


def test_modules_that_draw_masks_of_their_own_are_refused_by_name() -> None:
    for name, make in FOREIGN.items():
        message = f"^running windows as one batch needs sgrnn.Dropout, but {name} draws its own masks$"
        with pytest.raises(ValueError, match=message), recorded_masks(make()):
            pass


def test_modules_that_draw_nothing_are_let_be() -> None:
    for model in (
        nn.Sequential(nn.Dropout(0.0), Dropout(0.5)),
        nn.Sequential(nn.Dropout(0.5)).eval(),
        nn.LSTM(3, 3, 2, dropout=0.5).eval(),
        nn.LSTM(3, 3, 2),
    ):
        with recorded_masks(model):
            pass
        with replayed_masks(model, 1):
            pass


def test_no_dropout_is_left_inside_the_context_and_every_rate_is_put_back() -> None:
    model = nn.ModuleList([Dropout(0.5), nn.Dropout(0.3), nn.LSTM(3, 3, 2, dropout=0.4)])
    with without_regularization(model):
        assert [module.p for module in model[:2]] == [0, 0]
        assert model[2].dropout == 0
    assert [module.p for module in model[:2]] == [0.5, 0.3]
    assert model[2].dropout == 0.4
    with pytest.raises(ValueError, match=r"^it runs twice, so that it must be without dropout, got 0\.4 in 2$"):
        require_no_dropout(nn.ModuleList([nn.ReLU(), nn.ReLU(), model[2]]), "it runs twice")


def test_masks_of_another_layout_are_refused_where_windows_run_as_one_batch() -> None:
    class BatchFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.dropout = nn.GRU(3, 3), Dropout(0.5)

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            outputs, state = self.rnn(inputs, state)
            return self.dropout(outputs.transpose(0, 1)).transpose(0, 1), state

    synthetic = SyntheticGradients(BatchFirst(), lambda outputs, targets: (outputs - targets).square().sum(-1), 2,
                                   parallel=True, run_ahead=0)  # fmt: skip
    span = Span(torch.zeros(4, 5, 3), torch.zeros(4, 5, 3), future=Span(torch.zeros(8, 5, 3), torch.zeros(8, 5, 3)))
    with pytest.raises(
        ValueError, match=r"only where dropout acts on \(\.\.\., batch, features\), got .*parallel=False"
    ):
        synthetic.backward(span, torch.zeros(1, 5, 3))
