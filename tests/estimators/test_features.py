"""Synthesizers read features of the model that is trained, at each call, and hold nothing of it."""

from typing import Any

import pytest
import torch
from models import ROWS, SIZE, gradients, make_language_model, make_span, make_state, make_text, squared_error
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.estimators import SyntheticGradients
from sgrnn.estimators.features import features_of
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.state import batch_size
from sgrnn.synthesizers import AdjointSynthesizer, ErrorSynthesizer, Lookahead, Synthesizer

STEPS, WINDOW = 6, 2
BOUNDARIES = [0, 2, 4, 6]


class Watching(Synthesizer):
    """Keeps what it is given, and predicts zeros."""

    def __init__(self, sees_targets: bool, feature_size: int | None = None) -> None:
        super().__init__()
        self.lookahead, self.reads, self.sees_targets, self.feature_size = 3, 2, sees_targets, feature_size
        self.seen: list[Lookahead] = []

    def forward(self, state: Any, lookahead: Lookahead | None = None) -> Tensor:
        assert lookahead is not None
        self.seen.append(lookahead)
        return torch.zeros(batch_size(state), 1, 2 * SIZE, dtype=torch.float64)


def watched(model: nn.Module, loss: Any, span: Span, state: Any, *, sees_targets: bool, **options: Any) -> Lookahead:
    synthesizer = Watching(sees_targets, **options)
    SyntheticGradients(model, loss, WINDOW, synthesizer=synthesizer).backward(span, state)
    (seen,) = synthesizer.seen
    return seen


def steps_at_boundaries(steps: Tensor) -> Tensor:
    """(2, boundaries x rows, ...) the next two steps at each boundary."""
    return torch.stack([torch.cat([steps[boundary + step] for boundary in BOUNDARIES]) for step in range(2)])


@pytest.mark.parametrize("sees_targets", [False, True])
def test_the_features_are_those_of_the_models_methods_at_the_steps_after_every_boundary(sees_targets: bool) -> None:
    model = make_language_model(LSTM(SIZE, SIZE))
    text = make_text(STEPS)
    assert text.future is not None
    seen = watched(model, model.loss, text, make_state(model), sees_targets=sees_targets)
    inputs = steps_at_boundaries(torch.cat([text.inputs, text.future.inputs]))
    targets = steps_at_boundaries(torch.cat([text.targets, text.future.targets]))
    expected = model.step_features(inputs, targets) if sees_targets else model.input_features(inputs)
    assert_identical(seen.features, expected)
    assert seen.valid is None
    assert seen.output_gradients is None


@pytest.mark.parametrize("sees_targets", [False, True])
def test_without_methods_they_are_the_vectors_themselves(sees_targets: bool) -> None:
    core, span = LSTM(SIZE, SIZE).double(), make_span(STEPS + 2).slice(0, STEPS)
    assert span.future is not None
    seen = watched(core, squared_error, span, make_state(core), sees_targets=sees_targets)
    inputs = torch.cat([span.inputs, span.future.inputs, torch.zeros(1, ROWS, SIZE)])
    targets = torch.cat([span.targets, span.future.targets, torch.zeros(1, ROWS, SIZE)])
    both = torch.cat([inputs, targets], dim=-1) if sees_targets else inputs
    assert_identical(seen.features, steps_at_boundaries(both))
    assert seen.valid is not None
    assert seen.valid[2].tolist() == [True] * 3 * ROWS + [False] * ROWS


def test_steps_that_are_numbers_or_images_are_vectors_too() -> None:
    class Flattening(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.core = LSTM(size, SIZE).double()

        def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
            return self.core(inputs.reshape(*inputs.shape[:2], -1), state)

    for shape in ((), (2, 5)):
        model = Flattening(10 if shape else 1)
        steps = torch.randn(STEPS + 3, ROWS, *shape, dtype=torch.float64)
        span = Span(steps, make_span(STEPS + 3).targets).slice(0, STEPS)
        seen = watched(model, squared_error, span, make_state(LSTM(SIZE, SIZE).double()), sees_targets=False)
        assert_identical(seen.features, steps_at_boundaries(steps.reshape(STEPS + 3, ROWS, -1)))


class Counting(nn.Module):
    """Reads tokens and has no method for their features."""

    def __init__(self, embeddings: int = 1) -> None:
        super().__init__()
        self.model = make_language_model(LSTM(SIZE, SIZE))
        self.others = nn.ModuleList(nn.Embedding(2, 2) for _ in range(embeddings - 1))

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.model(inputs, state)


def test_tokens_without_a_method_are_read_by_the_one_embedding() -> None:
    model, tokens = Counting(), make_text(STEPS).inputs
    assert_close(features_of(model, tokens), model.model.input_features(tokens))


def test_tokens_without_a_method_and_several_embeddings_are_refused() -> None:
    model = Counting(embeddings=2)
    state, loss = make_state(model.model), model.model.loss
    for sees_targets in (False, True):
        with pytest.raises(
            ValueError, match=r"^a synthesizer cannot read steps in torch.int64: give the model a method "
        ):
            watched(model, loss, make_text(STEPS), state, sees_targets=sees_targets)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (ErrorSynthesizer, {"state_size": 5}, "predict for the 6 features of a row of .* state .* got one for 5"),
        (ErrorSynthesizer, {"output_size": 4}, "output_size must be 3, the features of the model's outputs .* got 4"),
        (AdjointSynthesizer, {"feature_size": 2}, r"\(steps, rows, 2\), as the .* feature_size .* got \(2, 12, 3\)"),
    ],
)
def test_a_synthesizer_of_other_sizes_is_refused(kind: Any, options: dict[str, int], message: str) -> None:
    sizes = {"state_size": 2 * SIZE, "output_size": SIZE, "feature_size": SIZE, "aligned_size": 0} | options
    steps = {"window": WINDOW} if kind is AdjointSynthesizer else {"lookahead": 2}
    core = LSTM(SIZE, SIZE).double()
    estimator = SyntheticGradients(core, squared_error, WINDOW, synthesizer=kind(**sizes, **steps)).double()
    with pytest.raises(ValueError, match=message):
        estimator.backward(make_span(STEPS + 3).slice(0, STEPS), make_state(core))


def test_predictions_of_another_shape_are_refused() -> None:
    class Flat(Synthesizer):
        def forward(self, state: Any, lookahead: Any = None) -> Tensor:
            return state[0][0]

    core = LSTM(SIZE, SIZE).double()
    with pytest.raises(ValueError, match=r"synthesizer must give \(rows, heads, features\), here \(12, ..., 6\), got"):
        SyntheticGradients(core, squared_error, 2, synthesizer=Flat()).backward(make_span(STEPS), make_state(core))


def test_a_synthesizer_that_holds_a_part_of_the_model_is_refused() -> None:
    model, other = make_language_model(LSTM(SIZE, SIZE)), make_language_model(LSTM(SIZE, SIZE))
    synthesizer = Watching(sees_targets=True)
    synthesizer.add_module("reader", model.embedding)
    SyntheticGradients(other, other.loss, WINDOW, synthesizer=synthesizer).backward(make_text(STEPS), make_state(other))
    estimator = SyntheticGradients(model, model.loss, WINDOW, synthesizer=synthesizer)
    with pytest.raises(ValueError, match=r"^the synthesizer's reader.weight is a parameter of the model"):
        estimator.backward(make_text(STEPS), make_state(model))


@pytest.mark.parametrize("kind", ["synthesizer", "adjoint_synthesizer", "mlp_synthesizer"])
def test_features_with_a_graph_do_not_train_the_model(kind: str) -> None:
    class Trainable(LanguageModel):
        def input_features(self, inputs: Tensor) -> Tensor:
            return self.embedding(inputs)

        def step_features(self, inputs: Tensor, targets: Tensor) -> Tensor:
            return torch.cat([self.embedding(inputs), self.embedding(targets)], dim=-1)

    results = []
    for detached in (False, True):
        torch.manual_seed(0)
        model = Trainable(11, SIZE, LSTM(SIZE, SIZE), SIZE).double()
        if detached:
            for name in ("input_features", "step_features"):
                method = getattr(model, name)
                setattr(model, name, lambda *steps, method=method: method(*steps).detach())
        estimator = SyntheticGradients(model, model.loss, 3, synthesizer=getattr(model, kind)(3)).double()
        for parameter in estimator.parameters():
            nn.init.normal_(parameter, std=0.3)
        estimator.backward(make_text(STEPS), make_state(model))
        results.append((gradients(model), gradients(estimator)))
        seen = watched(model, model.loss, make_text(STEPS), make_state(model), sees_targets=True)
        assert seen.features is not None
        assert not seen.features.requires_grad
    assert_identical(results[0], results[1])
    assert any(gradient.any() for gradient in results[0][1].values())


def test_a_target_below_zero_is_none_and_has_zeros() -> None:
    """By -100 losses know a step without a target; the embedding has no vector for it."""
    model, text = nn.Sequential(nn.Embedding(11, SIZE)), make_text(STEPS)
    marked = text.targets.clone()
    marked[2, 1] = -100
    expected, found = (features_of(model, text.inputs, targets) for targets in (text.targets, marked))
    assert expected[2, 1, SIZE:].any()
    expected[2, 1, SIZE:] = 0
    assert_identical(found, expected)


def test_an_estimator_that_is_a_part_of_its_model_is_told_to_be_outside_of_it() -> None:
    class Holding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = LSTM(SIZE, SIZE)
            self.estimator = SyntheticGradients(self.core, squared_error, WINDOW)

        def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
            return self.core(inputs, state)

    model = Holding()
    estimator = SyntheticGradients(model, squared_error, WINDOW, synthesizer=model.estimator.synthesizer)
    with pytest.raises(ValueError, match=r"the synthesizer is a part of the model, .*: keep the estimator outside of"):
        estimator.backward(make_span(STEPS), model.core.initial_state(ROWS))
