"""`ControlVariate` is unbiased, whatever is predicted: the mean over all draws is full back-propagation."""

import copy
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest
import torch
from models import (
    CORES,
    SIZE,
    Table,
    as_if_trained,
    gradients,
    gradients_by_hand,
    make_core,
    make_language_model,
    make_span,
    make_state,
    make_text,
    run_by_hand,
    squared_error,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import LSTM, initial_state
from sgrnn.estimators import BPTT, ControlVariate, SyntheticGradients
from sgrnn.estimators.mixture import SYNTHETIC, Mixture
from sgrnn.span import Span
from sgrnn.state import State, state_size, to_matrix
from sgrnn.synthesizers import Synthesizer

STEPS, WINDOW, ROWS = 8, 2, 4
INSIDE = 3  # boundaries inside the span


def untrained(model: nn.Module, synthesizer: Synthesizer | None = None, **options: Any) -> SyntheticGradients:
    """Predictions of random numbers, as large as the gradients or larger: R² far below 0."""
    loss = getattr(model, "loss", squared_error)
    if synthesizer is None:
        size = state_size(initial_state(model, 1))
        synthesizer = Table((INSIDE + 2) * ROWS, size)
        return SyntheticGradients(model, loss, WINDOW, synthesizer=synthesizer, shrinkage=False, **options).double()
    return as_if_trained(SyntheticGradients(model, loss, WINDOW, synthesizer=synthesizer, **options), std=0.3)


def trained_by(estimator: SyntheticGradients, span: Span, state: State, mixture: Mixture = SYNTHETIC) -> Any:
    """Gradients of the model's parameters and the estimator's, which is left as it was."""
    estimator = copy.deepcopy(estimator)
    for module in (estimator, estimator.model):
        module.zero_grad()
    estimator.backward_mixed(span, state, mixture)
    return gradients(estimator.model), gradients(estimator)


def true(estimator: SyntheticGradients, span: Span, state: State) -> Any:
    """Full back-propagation through the span, with the same synthetic gradient at its end."""
    whole = copy.deepcopy(estimator)
    whole.trace_decay = 1.0
    return trained_by(whole, span, state)


def mean_over_draws(estimator: SyntheticGradients, span: Span, state: State, number: int) -> dict[str, Tensor]:
    draws = list(combinations(range(span.batch_size), number))
    found = [trained_by(estimator, span, state, Mixture(drawn=drawn))[0] for drawn in draws]
    return {name: sum(each[name] for each in found) / len(draws) for name in found[0]}  # pyright: ignore


def assert_unbiased(estimator: SyntheticGradients, span: Span, state: State, numbers: Sequence[int]) -> None:
    """The mean over all draws is true, which no draw is alone, nor are synthetic gradients."""
    expected = true(estimator, span, state)[0]
    for number in numbers:
        assert_close(mean_over_draws(estimator, span, state, number), expected)
    for mixture in (SYNTHETIC, Mixture(drawn=(1,))):
        found = trained_by(estimator, span, state, mixture)[0]
        assert max(float((found[name] - expected[name]).abs().max()) for name in found) > 1e-3


@pytest.mark.parametrize("core", CORES)
def test_the_mean_over_all_draws_is_true_for_every_core(core: str) -> None:
    model = make_core(core)
    assert_unbiased(untrained(model), make_span(STEPS, ROWS), make_state(model, ROWS), [2])


@pytest.mark.parametrize(
    ("is_first", "is_last"),
    [(None, None), ([(2, 0), (4, 1), (5, 2)], None), ([(0, 3), (7, 0)], [True, False, False, True])],
)
@pytest.mark.parametrize(
    "options", [{"parallel": True}, {"trace_decay": 0.3}, {"remove_mean": True, "discount": 0.7, "parallel": True}]
)
def test_the_mean_over_all_draws_is_true_with_every_option(options: Any, is_first: Any, is_last: Any) -> None:
    model = make_core("LSTM-2")
    ended = None if is_last is None else torch.tensor(is_last)
    span = make_span(STEPS, ROWS, is_first=is_first, is_last=ended)
    assert_unbiased(untrained(model, **options), span, make_state(model, ROWS), [1, 2, 3, 4])


@pytest.mark.parametrize("kind", ["errors", "adjoint", "perceptron"])
def test_the_mean_over_all_draws_is_true_for_every_synthesizer(kind: str) -> None:
    model = make_language_model()
    synthesizer = {
        "errors": lambda: model.synthesizer(3, hidden_size=4, rank=2, projection=3),
        "adjoint": lambda: model.adjoint_synthesizer(WINDOW, hidden_size=4, rank=2, projection=3),
        "perceptron": lambda: model.mlp_synthesizer(3, hidden_sizes=(4,), auxiliary=True),
    }[kind]()
    assert_unbiased(untrained(model, synthesizer), make_text(STEPS, ROWS), make_state(model, ROWS), [1, 3])


def test_the_variance_over_draws_is_that_of_sampling_without_replacement() -> None:
    model = make_core("LSTM-1")
    estimator, span, state = untrained(model), make_span(STEPS, ROWS), make_state(model, ROWS)

    def flat(*drawn: int) -> Tensor:
        found, _ = trained_by(estimator, span, state, Mixture(drawn=drawn))
        return torch.cat([each.flatten() for each in found.values()])

    synthetic = flat()
    lacking = torch.stack([flat(row) - synthetic for row in range(ROWS)]) / ROWS  # of each row
    spread = (lacking - lacking.mean(dim=0)).square().sum()
    true = synthetic + lacking.sum(dim=0)
    for number in (1, 2, 3):
        draws = [flat(*drawn) for drawn in combinations(range(ROWS), number)]
        variance = (torch.stack(draws) - true).square().sum() / len(draws)
        assert_close(variance, ROWS / (ROWS - 1) * (ROWS / number - 1) * spread)


def test_padding_a_state_of_none_and_a_shorter_last_window() -> None:
    model = make_core("own")
    mask = torch.ones(7, ROWS, dtype=torch.bool)
    mask[2:4, 1] = mask[5:, 2] = False
    span = make_span(7, ROWS, is_first=[(4, 1)], mask=mask)
    estimator = untrained(model)
    for number in (1, 2):
        assert_close(mean_over_draws(estimator, span, None, number), true(estimator, span, None)[0])


def test_with_all_rows_and_nothing_beyond_it_is_full_back_propagation_by_hand() -> None:
    model = make_core("LSTM-2")
    ended = torch.ones(ROWS, dtype=torch.bool)
    span, state = make_span(STEPS, ROWS, is_first=[(3, 1)], is_last=ended), make_state(model, ROWS)
    expected, _, _ = gradients_by_hand(model, squared_error, [span], state)
    model.zero_grad()
    step = ControlVariate(untrained(model), 1.0).backward(span, state)
    assert_close({name: each * STEPS * ROWS for name, each in gradients(model).items()}, expected)
    model.zero_grad()
    plain = BPTT(model, squared_error).backward(span, state)
    assert_close([step.loss, step.state], [plain.loss, plain.state])


@pytest.mark.parametrize("synthesizer", [None, "adjoint"])
def test_with_all_rows_the_synthesizer_learns_from_true_gradients_alone(synthesizer: str | None) -> None:
    model = make_language_model(LSTM(SIZE, SIZE, 1))
    made = None if synthesizer is None else model.adjoint_synthesizer(WINDOW, hidden_size=4)
    estimator, span, state = untrained(model, made), make_text(STEPS, ROWS), make_state(model, ROWS)
    found = trained_by(estimator, span, state, Mixture(drawn=tuple(range(ROWS))))
    assert_close(found, true(estimator, span, state))


def test_rows_that_are_not_drawn_teach_and_are_taught_as_without() -> None:
    """What goes back through the inputs tells rows apart: drawn ones have ĝ + B/m (g - ĝ), others ĝ."""
    model = make_core("LSTM-1")
    span, state = make_span(STEPS, ROWS), make_state(model, ROWS)
    drawn, others = [0, 2], [1, 3]

    def taught(mixture: Mixture = SYNTHETIC, **options: Any) -> tuple[Tensor, Tensor]:
        """The gradients at the inputs, and what the predictions at the windows' first states were trained towards."""
        inputs = span.inputs.clone().requires_grad_()
        estimator = untrained(model, **options)
        before = estimator.predictor.scale
        estimator.backward_mixed(Span(inputs * 1, span.targets), state, mixture)
        values = next(iter(estimator.synthesizer.parameters()))
        assert inputs.grad is not None
        assert values.grad is not None
        firsts = values.detach()[:-ROWS, 0]
        targets = before * firsts - estimator.predictor.scale * values.grad[:-ROWS, 0] * firsts.numel() / 2
        return inputs.grad, targets.unflatten(0, (-1, ROWS))

    (found, targets), (synthetic, bootstrapped) = taught(Mixture(drawn=(0, 2))), taught()
    exact, true_targets = taught(trace_decay=1.0)
    assert_close(found[:, others], synthetic[:, others])
    assert_close(found[:, drawn], synthetic[:, drawn] + 2 * (exact - synthetic)[:, drawn])
    assert_close(targets[:, others], bootstrapped[:, others])
    assert_close(targets[:, drawn], true_targets[:, drawn])


def test_the_r2_of_what_would_be_injected_is_that_with_the_true_gradient() -> None:
    model = make_core("LSTM-1")
    span, state = make_span(STEPS, ROWS), make_state(model, ROWS)
    ended = Span(span.inputs, span.targets, is_last=torch.ones(ROWS, dtype=torch.bool))
    total, states = run_by_hand(model, squared_error, span, state)
    inner = [leaf for place in range(WINDOW, STEPS, WINDOW) for leaf in states[place]]
    found = torch.autograd.grad(total, inner)
    arrived = torch.stack([to_matrix(found[place : place + 2]) for place in range(0, len(found), 2)])[:, [1, 3]]
    estimator = untrained(model, remove_radial=False)
    injected = estimator.look(ended, state).injected.unflatten(0, (-1, ROWS))[:-1, [1, 3]]
    expected = 1 - (arrived - injected).square().sum() / arrived.square().sum()
    assert expected < 0.5
    step = estimator.backward_mixed(ended, state, Mixture(drawn=(1, 3)))
    assert_close(step.metrics["drawn_r2"], expected)
    step = untrained(model, discount=0.0).backward_mixed(ended, state, Mixture(drawn=(1, 3)))
    assert float(step.metrics["drawn_r2"]) == 0


def test_a_window_as_long_as_the_span_leaves_nothing_to_correct() -> None:
    model = make_core("LSTM-1")
    span, state = make_span(WINDOW, ROWS), make_state(model, ROWS)
    estimator = SyntheticGradients(model, squared_error, WINDOW, synthesizer=Table(2 * ROWS, 2 * SIZE)).double()
    assert_identical(
        trained_by(estimator, span, state, Mixture(drawn=(1, 3)))[0], trained_by(estimator, span, state)[0]
    )


def test_buffers_are_those_of_one_run() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = make_core("LSTM-1")
            self.register_buffer("calls", torch.zeros(()))

        def initial_state(self, batch_size: int) -> State:
            return initial_state(self.core, batch_size)

        def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            self.calls += 1
            return self.core(inputs, state)

    found = []
    for mixture in (SYNTHETIC, Mixture(drawn=(0, 1))):
        model = Counting()
        untrained(model).backward_mixed(make_span(STEPS, ROWS), make_state(model.core, ROWS), mixture)
        found.append((model.calls, [p.requires_grad for p in model.parameters()]))
    assert_identical(found[1], found[0])


def test_draws_are_without_replacement_and_a_function_of_seed_and_update() -> None:
    model = make_core("LSTM-1")
    estimator = ControlVariate(untrained(model), 0.5, seed=3)
    draws = []
    for update in range(60):
        estimator.set_extra_state({"update": update})
        draws.append(estimator._draw(ROWS))
    assert set(draws) == set(combinations(range(ROWS), 2))
    assert draws != [ControlVariate(untrained(model), 0.5, seed=4)._draw(ROWS)] * 60
    estimator.set_extra_state({"update": 7})
    assert estimator._draw(ROWS) == draws[7]
    for share, rows, number in ((0.01, 4, 1), (0.25, 20, 5), (0.3, 5, 2), (1.0, 3, 3)):
        assert len(ControlVariate(untrained(model), share)._draw(rows)) == number


def test_an_update_is_that_of_the_rows_drawn_and_the_next_draws_anew() -> None:
    model = make_core("LSTM-1")
    span, state = make_span(STEPS, ROWS), make_state(model, ROWS)
    estimator = ControlVariate(untrained(model), 0.5, seed=1)
    draws = []
    for update in range(4):
        assert estimator.get_extra_state() == {"update": update}
        draws.append(estimator._draw(ROWS))
        expected = trained_by(estimator.synthetic, span, state, Mixture(drawn=draws[-1]))[0]
        model.zero_grad()
        estimator.backward(span, state)
        assert_identical(gradients(model), expected)
    assert len(set(draws)) > 1


def test_what_does_not_fit_is_refused() -> None:
    model = make_core("LSTM-1")
    span, state = make_span(STEPS, ROWS), make_state(model, ROWS)
    with pytest.raises(TypeError, match=r"^synthetic must be SyntheticGradients, got a LSTM$"):
        ControlVariate(model)  # pyright: ignore[reportArgumentType]
    for share in (0, 1.5):
        with pytest.raises(ValueError, match=rf"^true_share must be in \(0, 1\], got {share}$"):
            ControlVariate(untrained(model), share)
    with pytest.raises(ValueError, match=r"^low_memory must be False with a true_share, whose rows need all windows"):
        ControlVariate(untrained(model, low_memory=True))
    with pytest.raises(ValueError, match=r"^share must be 1 where rows are drawn, got 0.5$"):
        untrained(model).backward_mixed(span, state, Mixture(0.5, drawn=(0,)))
    reason = "^rows whose true gradient is sought are run again by themselves, "
    dropping = make_language_model(LSTM(SIZE, SIZE), dropout=0.2)
    estimator = ControlVariate(untrained(dropping, dropping.synthesizer(2)))
    with pytest.raises(ValueError, match=f"{reason}so that it must be without dropout, got 0.2 in dropout$"):
        estimator.backward(make_text(STEPS, ROWS), make_state(dropping, ROWS))

    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.core = nn.BatchNorm1d(SIZE).double(), make_core("LSTM-1")

        def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            return self.core(self.norm(inputs.flatten(0, 1)).view_as(inputs), state)

    normalized = Normalized()
    synthetic = SyntheticGradients(normalized, squared_error, WINDOW, synthesizer=Table(5 * ROWS, 2 * SIZE)).double()
    with pytest.raises(ValueError, match=f"{reason}and norm takes batch statistics$"):
        ControlVariate(synthetic).backward(span, state)
