"""`Mixed` is one of the pure estimators at shares 0 and 1, and mixes in between as its schedule says."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from models import (
    SIZE,
    as_if_trained,
    gradients,
    make_language_model,
    make_state,
    make_text,
    train_on,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.estimators import BPTT, GradientEstimator, Loss, Step, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.mixture import Mixture
from sgrnn.estimators.schedules import Alternate, Bernoulli, Constant, Ramp, WarmRestarts
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.state import State
from sgrnn.synthesizers import Lookahead, Synthesizer

STEPS, WINDOW = 12, 2


def make_model(dropout: float = 0.2) -> LanguageModel:
    return make_language_model(LSTM(SIZE, SIZE, 2, dropout=dropout), dropout=dropout)


def make_synthetic(model: LanguageModel, **options: Any) -> SyntheticGradients:
    synthesizer = model.synthesizer(3, hidden_size=4, rank=2, projection=3)
    return as_if_trained(SyntheticGradients(model, model.loss, WINDOW, synthesizer=synthesizer, **options))


Turn = Mixture | Callable[[nn.Module, Loss], GradientEstimator]


class ByHand(GradientEstimator):
    """Hand every span to the next of some estimators, or of mixtures for one of them."""

    def __init__(self, turns: list[Turn], synthetic: SyntheticGradients) -> None:
        super().__init__(synthetic.model, synthetic.loss)
        self.turns, self.synthetic = turns, synthetic

    def backward(self, span: Span, state: State = None) -> Step:
        turn = self.turns.pop(0)
        if isinstance(turn, Mixture):
            return self.synthetic.backward_mixed(span, state, turn)
        return turn(self.model, self.loss).backward(span, state)


SPANS = [
    make_text(STEPS, is_first=is_first, seed=seed) for seed, is_first in enumerate([None, [(0, 1), (4, 2)], None, None])
]


def results(estimator: GradientEstimator) -> Any:
    torch.manual_seed(9)
    totals, steps = train_on(estimator, SPANS, make_state(estimator.model))
    return totals, [(step.loss, step.state) for step in steps]


def assert_turns(mixed: Mixed, turns: list[Turn]) -> None:
    """Four spans are trained on as if by hand, model and synthesizer bit for bit."""
    synthetic = make_synthetic(make_model())
    assert_identical(results(mixed), results(ByHand(turns, synthetic)))
    assert_identical(gradients(mixed.synthetic), gradients(synthetic))


def test_share_1_is_synthetic_to_the_bit() -> None:
    model = make_model()
    mixed = Mixed(make_synthetic(model, parallel=True), Constant(1.0))
    mixture, trained = results(mixed), gradients(mixed.synthetic)
    pure = make_synthetic(model, parallel=True)
    assert_identical(mixture, results(pure))
    assert_identical(trained, gradients(pure))


@pytest.mark.parametrize(
    ("real_window", "options"),
    [(None, {"parallel": True}), (2, {"shuffle": True, "trace_decay": 0.5}), (6, {"parallel": True})],
)
def test_share_0_is_truncation_to_the_bit(real_window: int | None, options: dict[str, Any]) -> None:
    model = make_model()
    mixed = Mixed(make_synthetic(model, **options), Constant(0.0), real_window=real_window)
    mixture, pure = results(mixed), BPTT(model, model.loss)
    if real_window is not None:
        pure = TruncatedBPTT(model, model.loss, real_window, parallel=options.get("parallel", False))
    assert_identical(mixture, results(pure))
    assert not any(gradient.any() for gradient in gradients(mixed).values())


class Refusing(Synthesizer):
    sees_output_gradients, lookahead = True, 3

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        raise AssertionError("the synthesizer was asked")


def refusing() -> SyntheticGradients:
    model = make_model()
    return SyntheticGradients(model, model.loss, WINDOW, synthesizer=Refusing())


def test_share_0_does_not_ask_the_synthesizer() -> None:
    results(Mixed(refusing(), Constant(0.0)))


@pytest.mark.parametrize("schedule", [Alternate(WarmRestarts(1), first=1.0), Bernoulli(0.5, seed=1)])
def test_the_sources_take_turns_as_the_schedule_says(schedule: Any) -> None:
    shares = [schedule(update) for update in range(4)]
    assert set(shares) == {0.0, 1.0}
    mixed = Mixed(make_synthetic(make_model()), schedule, real_window=6)
    assert_turns(mixed, [Mixture() if share else partial(TruncatedBPTT, window=6) for share in shares])


def test_a_share_with_no_real_window_is_a_discount() -> None:
    model = make_model()
    mixed = Mixed(make_synthetic(model), Constant(0.4), real_window=WINDOW)
    assert_close(results(mixed), results(make_synthetic(model, discount=0.4)))


def test_what_is_no_schedule_or_not_synthetic_is_refused() -> None:
    synthetic = make_synthetic(make_model())
    message = r"^schedule must be a function of time, such as sgrnn.schedules.Constant\(0.5\), got 'alternate'$"
    for given, schedule, expected in (
        (synthetic, "alternate", message),
        (synthetic.model, Constant(0.5), "^synthetic must be SyntheticGradients, got a "),
    ):
        with pytest.raises(TypeError, match=expected):
            Mixed(given, schedule)  # pyright: ignore[reportArgumentType]


def test_grounding_counts_the_spans_that_are_not_real() -> None:
    schedule = Alternate(WarmRestarts(1), first=1.0)
    mixed = Mixed(make_synthetic(make_model()), schedule, ground_every=2, ground_window=6)
    assert_turns(mixed, [Mixture(), BPTT, Mixture(window=6), BPTT])


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_span_that_is_refused_is_not_counted(share: float) -> None:
    mixed = Mixed(make_synthetic(make_model()), Constant(share), ground_every=2, ground_window=6)
    with pytest.raises(ValueError, match="rows"):
        mixed.backward(SPANS[0], make_state(mixed.model, 2))
    assert (mixed.update, mixed.synthetic_spans) == (0, 0)
    mixed.backward(SPANS[0], make_state(mixed.model))
    assert (mixed.update, mixed.synthetic_spans) == (1, int(share > 0))


def test_a_grounded_span_of_a_blend_rounds_its_real_window_up() -> None:
    mixed = Mixed(
        make_synthetic(make_model()), Constant(0.4), real_window=6, ground_every=1, ground_window=4
    )  # fmt: skip
    assert_turns(mixed, [Mixture(0.4, 4, 8)] * 4)


def test_a_perceptron_with_a_second_head_can_be_mixed() -> None:
    model = make_model()
    perceptron = model.mlp_synthesizer(3, hidden_sizes=(8,), auxiliary=True)
    synthetic = SyntheticGradients(model, model.loss, WINDOW, synthesizer=perceptron).double()
    mixed = Mixed(synthetic, Ramp(stop=3), ground_every=2, ground_window=6)
    (mixture, _), (expected, _) = results(mixed), results(BPTT(model, model.loss))
    assert all(gradient.isfinite().all() for gradient in mixture.values())
    assert any(not torch.equal(mixture[key], expected[key]) for key in mixture)


def test_the_share_is_reported_and_time_counted_in_the_schedules_unit() -> None:
    model = make_model()
    mixed = Mixed(make_synthetic(model), Ramp(stop=2), updates_per_unit=2)
    torch.manual_seed(9)
    _, steps = train_on(mixed, [*SPANS, SPANS[0]], make_state(model))
    assert [float(step.metrics["share"]) for step in steps] == [0, 0.25, 0.5, 0.75, 1.0]
    assert ["target_r2" in step.metrics for step in steps] == [False, True, True, True, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"real_window": 0}, "real_window must be a multiple of the window, 2 steps, got 0"),
        ({"ground_every": 3}, "ground_every and ground_window go together: give both or neither"),
        ({"ground_every": 0, "ground_window": 3}, "ground_every must be at least 1 span, got 0"),
        ({"ground_every": 3, "ground_window": 1}, "ground_window must be at least the window, 2 steps, got 1"),
        ({"updates_per_unit": 0}, "updates_per_unit must be at least 1, got 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Mixed(refusing(), Constant(), **options)


def test_a_schedule_that_gives_no_share_is_refused() -> None:
    model = make_model()
    with pytest.raises(ValueError, match=r"^a schedule must give shares in \[0, 1\], got 2 at update 0$"):
        results(Mixed(make_synthetic(model), lambda time: 2))
