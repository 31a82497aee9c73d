"""Output gradients from targets alone: exact where outputs are zero, else of mean chances, and not along a state."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, VOCABULARY, make_core, make_language_model, make_state, make_text, squared_error
from output_gradients import (
    BOUNDS,
    STEPS,
    Layout,
    Recorder,
    assert_handed_over,
    gradients_step_by_step,
    make_data,
)
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.contract.modules import method_of
from sgrnn.cores import LSTM
from sgrnn.estimators import Loss, SyntheticGradients
from sgrnn.estimators.ahead import constant_part, from_targets
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.state import State, map_state
from sgrnn.synthesizers import ErrorSynthesizer, Lookahead, MLPSynthesizer

LAYOUTS = {
    "several windows": Layout(3, 4, 4),
    "one step": Layout(1, 3, 3),
    "one window": Layout(STEPS, 4, 4),
    "a future that is shorter": Layout(2, 5, 2),
}


def make_constant_model() -> LanguageModel:
    """A model whose outputs are zero, so that it predicts the same tokens, not all alike, at every step."""
    model = make_language_model()
    for parameter in model.core.parameters():
        nn.init.zeros_(parameter)
    return model


def zero_state(model: LanguageModel) -> State:
    return map_state(torch.zeros_like, make_state(model))


def asked(
    model: LanguageModel, span: Span, layout: Layout, run_ahead: int | None, loss: Loss | None = None,
    state: State = None,
) -> tuple[Lookahead, int]:  # fmt: skip
    """What the synthesizer is asked, and the steps that the core is run in all."""
    recorder, ran = Recorder(layout.lookahead), list[int]()
    handle = model.core.register_forward_pre_hook(lambda core, arguments: ran.append(len(arguments[0])))
    estimator = SyntheticGradients(
        model, loss or model.loss, layout.window, synthesizer=recorder, run_ahead=run_ahead, ahead="targets"
    ).double()
    assert estimator.lookahead == layout.lookahead
    estimator.backward(span, state)
    handle.remove()
    return recorder.seen[0], sum(ran)


@pytest.mark.parametrize("run_ahead", [None, 0, 2, 9])
@pytest.mark.parametrize(
    ("layout", "rows"),
    [
        ("several windows", "all go on"),
        ("one step", "begin"),
        ("one window", "begin, also ahead"),
        ("a future that is shorter", "begin and end"),
    ],
)
def test_they_are_exact_where_the_model_predicts_the_same_at_every_step(
    layout: str, rows: str, run_ahead: int | None
) -> None:
    model, known = make_constant_model(), LAYOUTS[layout]
    span = make_data("language model", known.future, **BOUNDS[rows])
    seen, ran = asked(model, span, known, run_ahead, state=zero_state(model))
    expected, _ = gradients_step_by_step(model, model.loss, [span, span.future], zero_state(model))
    assert (expected.std(dim=(0, 1)) > 0.1).all()
    assert_handed_over(seen, span, known, expected, expected[:STEPS].square().mean().sqrt())
    assert ran == STEPS + min(run_ahead or 0, known.future, known.lookahead), "no further than it is asked to run"


@pytest.mark.parametrize("core", ["LSTM-1", "GRU-2"])
@pytest.mark.parametrize("run_ahead", [0, 2])
def test_beyond_what_is_run_they_are_the_mean_of_the_part_without_targets_and_their_own_part(
    run_ahead: int, core: str
) -> None:
    """Where its core outputs the state, without what lies along it."""
    model, known = make_language_model(make_core(core), tied=True), LAYOUTS["several windows"]
    span, state = make_data("language model", known.future, is_first=[(3, 1)]), make_state(model)
    assert span.future is not None
    expected, final = gradients_step_by_step(model, model.loss, [span, span.future], state)
    weight = model.output.weight.detach()
    mean = (expected[:STEPS] + weight[span.targets]).mean(dim=(0, 1))
    guessed = (mean - weight[span.future.targets])[run_ahead:]
    if core == "GRU-2":
        along = nn.functional.normalize(final[-1], dim=-1)
        guessed = guessed - (guessed * along).sum(dim=-1, keepdim=True) * along
    expected[STEPS + run_ahead :] = guessed
    seen, _ = asked(model, span, known, run_ahead, state=state)
    assert_handed_over(seen, span, known, expected, expected[:STEPS].square().mean().sqrt())


def test_padding_and_what_is_not_finite_take_no_part_in_the_mean() -> None:
    model, known = make_constant_model(), LAYOUTS["several windows"]
    mask = torch.ones(STEPS, ROWS, dtype=torch.bool)
    mask[2:5, 0] = False
    span = make_data("language model", known.future, is_first=[(5, 0)], mask=mask)
    state = zero_state(model)
    expected, _ = gradients_step_by_step(model, model.loss, [span, span.future], state)

    def holed(outputs: Tensor, targets: Tensor) -> Tensor:
        losses = model.loss(outputs, targets)
        hole = torch.zeros_like(losses)
        hole[0, 1] = torch.nan
        return losses * (1 + hole)

    for loss, real in ((model.loss, mask), (holed, mask & (torch.arange(STEPS * ROWS).view(STEPS, ROWS) != 1))):
        seen, _ = asked(model, span, known, None, loss, state)
        assert seen.output_gradients is not None
        unit = expected[:STEPS][real].square().mean().sqrt()
        assert_close(seen.output_gradients[:, -ROWS:] * unit, expected[STEPS : STEPS + known.lookahead])


def test_a_step_without_a_target_has_no_gradient_and_takes_no_part_in_the_mean() -> None:
    model, known = make_constant_model(), LAYOUTS["several windows"]
    full, state = make_data("language model", known.future), zero_state(model)
    assert full.future is not None
    parts = [replace(part, targets=part.targets.clone()) for part in (full, full.future)]
    for part in parts:
        part.targets[1] = part.targets[3, 1] = part.targets[2, 0] = -100
    span = parts[0].with_future(parts[1])
    expected, _ = gradients_step_by_step(model, model.loss, [span, span.future], state)
    for run_ahead in (0, 2):
        seen, _ = asked(model, span, known, run_ahead, state=state)
        assert_handed_over(seen, span, known, expected, expected[:STEPS].square().mean().sqrt())


@pytest.mark.parametrize("run_ahead", [0, 2])
def test_they_are_the_same_in_order_as_one_batch_and_in_low_memory(run_ahead: int) -> None:
    found, orders = [], [dict[str, Any](), {"parallel": True}, {"low_memory": True}]
    for options in orders:
        model = make_language_model(make_core("GRU-2"))
        span, state = make_data("language model", 4), make_state(model)
        synthesizer = model.diagonal_synthesizer(4).double()
        nn.init.constant_(synthesizer.gain, 0.5)
        estimator = SyntheticGradients(
            model,
            model.loss,
            2,
            synthesizer=synthesizer,
            run_ahead=run_ahead,
            ahead="targets",
            shrinkage=False,
            **options,
        ).double()
        estimator.backward(span, state)
        found.append([parameter.grad for parameter in [*model.parameters(), synthesizer.gain]])
    for other in found[1:]:
        assert_close(other, found[0])


def test_units_that_targets_tell_nothing_of_take_no_part_in_what_is_left_out() -> None:
    """Those that a locked dropout leaves out."""

    class Dropped(nn.Module):
        def target_gradients(self, targets: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0, 2.0]).expand(*targets.shape, 3)

    targets, along = torch.zeros(4, 1, dtype=torch.long), torch.tensor([[1.0, 5.0, 1.0]])
    guessed = from_targets(Dropped(), targets, torch.tensor([0.0, 0.0, 0.0, 1.0]), along)
    assert_close(guessed, torch.tensor([-0.5, 0.0, 0.5]).expand(4, 1, 3))


def test_bytes_have_a_target_at_every_step() -> None:
    """In uint8, which holds no number below 0, -100 would be 156."""

    class OfBytes(nn.Module):
        def target_gradients(self, targets: Tensor) -> Tensor:
            return -targets.unsqueeze(-1).double()

    targets = torch.full((STEPS, ROWS), 156, dtype=torch.uint8)
    rest = constant_part(OfBytes(), targets, torch.zeros(STEPS, ROWS, 1).double(), None)
    assert rest.tolist() == [156.0 * STEPS * ROWS, STEPS * ROWS]
    assert (from_targets(OfBytes(), targets, torch.tensor([0.0, 1.0])) == -156).all()


def test_the_steps_after_a_span_must_be_known_as_they_must_be_to_be_run() -> None:
    model = make_language_model()
    span = make_text(STEPS).with_future(None)
    with pytest.raises(ValueError, match=r"^the synthesizer looks 4 steps ahead, so a span needs its future"):
        asked(model, span, LAYOUTS["several windows"], None, state=make_state(model))


def test_a_compiled_or_wrapped_model_is_asked_for_its_own_part() -> None:
    model = make_language_model()
    wrapped = nn.DataParallel(model)
    assert method_of(wrapped, "target_gradients") is not None
    SyntheticGradients(wrapped, model.loss, 3, synthesizer=model.diagonal_synthesizer(), ahead="targets")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ahead": "nothing"}, "ahead must be one of model, targets, got nothing"),
        ({"run_ahead": -1}, "run_ahead must be at least 0 steps, got -1"),
        (
            {"synthesizer": MLPSynthesizer(12)},
            "ahead must be model for a synthesizer that sees no output gradients, a MLPSynthesizer, got targets",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    model = make_language_model()
    options = {"synthesizer": model.diagonal_synthesizer(), "ahead": "targets"} | change
    with pytest.raises(ValueError, match=f"^{message}$"):
        SyntheticGradients(model, model.loss, 3, **options)


def test_a_model_that_does_not_know_their_part_is_refused() -> None:
    message = r"^ahead must be model for a model without a method target_gradients\(targets\), a LSTM, got targets$"
    with pytest.raises(ValueError, match=message):
        SyntheticGradients(make_core("LSTM-1"), squared_error, 3, synthesizer=Recorder(4), ahead="targets")


def test_targets_are_taken_by_default_where_the_loss_is_the_models_own() -> None:
    model, other = make_language_model(), make_language_model()
    adjoint = model.adjoint_synthesizer(3)
    for loss, options, ran in [
        (model.loss, {}, 0),
        (lambda outputs, targets: model.loss(outputs, targets), {}, 8),
        (other.loss, {}, 8),
        (model.loss, {"run_ahead": 2}, 2),
        (model.loss, {"ahead": "model"}, 8),
        (model.loss, {"synthesizer": adjoint}, 3),
    ]:
        estimator = SyntheticGradients(model, loss, 3, **options)
        assert (estimator.reader.run, estimator.lookahead) == (ran, max(ran, 8) if ran in (0, 8) else ran)


@pytest.mark.parametrize(("core", "ran"), [("GRU-2", 8), ("nn.RNN-1", 8), ("LSTM-1", 0), ("hierarchy 1, 2, 3", 0)])
def test_a_model_that_outputs_its_state_is_run_ahead_unless_targets_are_asked_for(core: str, ran: int) -> None:
    model = make_language_model(make_core(core))
    assert SyntheticGradients(model, model.loss, 3).reader.run == ran
    assert SyntheticGradients(model, model.loss, 3, ahead="targets").reader.run == 0
    assert SyntheticGradients(model, model.loss, 3, run_ahead=0).lookahead == 0


class Smoothed(LanguageModel):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * super().loss(outputs, targets)


class Doubled(LanguageModel):
    def logits(self, outputs: Tensor) -> Tensor:
        return 2 * super().logits(outputs)

    def weighted(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 100 * self.loss(outputs, targets)


@pytest.mark.parametrize("loss", ["own loss", "own logits", "another method", "another layer"])
def test_a_loss_that_targets_tell_nothing_of_is_asked_by_running_the_model(loss: str) -> None:
    kind = {"own loss": Smoothed, "own logits": Doubled}.get(loss, LanguageModel)
    model = kind(VOCABULARY, SIZE, LSTM(SIZE, SIZE), SIZE)
    of_loss = model.loss
    if loss == "another method":
        model = Doubled(VOCABULARY, SIZE, LSTM(SIZE, SIZE), SIZE)
        of_loss = model.weighted
    elif loss == "another layer":
        model.output = nn.Sequential(nn.Linear(SIZE, SIZE), nn.Linear(SIZE, VOCABULARY))  # pyright: ignore
    synthesizer = ErrorSynthesizer(2 * SIZE, SIZE, SIZE)
    assert SyntheticGradients(model, of_loss, 3, synthesizer=synthesizer).reader.run == 8
