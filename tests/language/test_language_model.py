"""The language model: its parts are where it says, and its loss is the negative log-probability of a token."""

from collections.abc import Callable
from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import ROWS, SIZE, VOCABULARY, OwnCore, gradients, make_language_model, make_state, make_text
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import GRU, LSTM, AdaptedCore
from sgrnn.cores.dropout import recorded_masks
from sgrnn.estimators import SyntheticGradients
from sgrnn.models.adaptive_softmax import AdaptiveSoftmax
from sgrnn.models.language_model import LanguageModel
from sgrnn.state import leaves, state_size
from sgrnn.synthesizers import Lookahead

STEPS = 5


def test_an_adapted_core_that_has_not_run_yet_tells_its_state() -> None:
    core = AdaptedCore(nn.GRU(SIZE, 7, batch_first=True), batch_first=True)
    model = LanguageModel(VOCABULARY, SIZE, core, 7)
    state = model.initial_state(3)
    assert_identical(state, torch.zeros(1, 3, 7))
    step = SyntheticGradients(model, model.loss, 2).backward(make_text(4), None)
    assert step.loss.isfinite()


@pytest.mark.parametrize(("tied", "training"), [(True, False), (False, True)])
def test_the_loss_is_minus_the_log_of_the_softmax_at_the_target(tied: bool, training: bool) -> None:
    model = make_language_model(tied=tied).train(training)
    text = make_text(STEPS)
    outputs, _ = model(text.inputs, make_state(model))
    losses = model.loss(outputs, text.targets)
    assert losses.shape == (STEPS, ROWS)
    for step in range(STEPS):
        for row in range(ROWS):
            logits = model.output.weight @ outputs[step, row] + model.output.bias
            chances = logits.exp() / logits.exp().sum()
            assert_close(losses[step, row], -chances[text.targets[step, row]].log())
    assert_close(model.logits(outputs)[1, 2], model.output.weight @ outputs[1, 2] + model.output.bias)


@pytest.mark.parametrize("tied", [True, False])
def test_the_losss_gradient_at_the_features_is_a_part_of_the_chances_and_one_of_the_target(tied: bool) -> None:
    model = make_language_model(tied=tied)
    text = make_text(STEPS)
    outputs = model(text.inputs, make_state(model))[0].detach().requires_grad_()
    model.loss(outputs, text.targets).sum().backward()
    assert outputs.grad is not None
    of_targets = model.target_gradients(text.targets)
    assert not of_targets.requires_grad
    chances = model.logits(outputs.detach()).softmax(dim=-1)
    assert_close(outputs.grad, (chances @ model.output.weight + of_targets).detach())


@pytest.mark.parametrize("output", [None, lambda: AdaptiveSoftmax(SIZE, VOCABULARY, [4], div_value=2.0)])
def test_a_target_of_minus_100_is_none_and_has_no_loss_and_no_gradient(
    output: Callable[[], AdaptiveSoftmax] | None,
) -> None:
    model = make_language_model(output=output() if output else None)
    text = make_text(STEPS)
    outputs = model(text.inputs, make_state(model))[0].detach().requires_grad_()
    absent = text.targets.clone()
    absent[1, 0] = absent[4, 2] = -100
    expected = F.nll_loss(model.logits(outputs).log_softmax(-1).flatten(0, 1), absent.flatten(), reduction="none")
    (wanted,) = torch.autograd.grad(expected.sum(), outputs)
    losses = model.loss(outputs, absent)
    losses.sum().backward()
    assert_close(losses, expected.view_as(losses))
    assert outputs.grad is not None
    assert_close(outputs.grad, wanted)


def test_a_loss_on_top_of_it_counts_once_beside_a_target_of_minus_100() -> None:
    class Doubled(LanguageModel):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return 2 * super().loss(outputs, targets)

    model = Doubled(VOCABULARY, SIZE, LSTM(SIZE, SIZE), SIZE)
    text = make_text(STEPS)
    outputs = model(text.inputs, model.initial_state(ROWS))[0].detach()
    absent = text.targets.clone()
    absent[1, 0] = -100
    assert_identical(model.loss(outputs, absent)[2:], 2 * LanguageModel.loss(model, outputs, text.targets)[2:])


def test_synthetic_gradients_take_targets_of_minus_100_that_a_mask_leaves_out() -> None:
    """Whatever stands there: a span whose padding has tokens has the same gradients."""
    text = make_text(STEPS, mask=torch.tensor([[True] * ROWS] * 4 + [[True] + [False] * (ROWS - 1)]))
    assert text.future is not None
    assert text.mask is not None
    absent = text.targets.where(text.mask, -100)
    ahead = text.future.targets.clone()
    ahead[1] = -100
    found = []
    for targets in (text.targets, absent):
        model = make_language_model()
        synthesizer = model.synthesizer().double()
        for parameter in synthesizer.parameters():
            nn.init.normal_(parameter, std=0.3)
        estimator = SyntheticGradients(model, model.loss, window=2, ahead="targets", synthesizer=synthesizer)
        span = replace(text, targets=targets, future=replace(text.future, targets=ahead))
        estimator.backward(span, make_state(model))
        found.append(gradients(model))
    assert_identical(*found)


def test_a_synthesizer_that_reads_targets_reads_zeros_for_one_of_minus_100() -> None:
    text, model = make_text(STEPS), make_language_model()
    assert text.future is not None
    absent = text.future.targets.clone()
    absent[1] = -100
    read = model.step_features(text.future.inputs, absent)
    assert not read[1, :, SIZE:].any()
    here = torch.arange(len(absent)) != 1
    assert_identical(read[here], model.step_features(text.future.inputs, text.future.targets)[here])
    estimator = SyntheticGradients(model, model.loss, window=2, synthesizer=model.mlp_synthesizer(3).double())
    estimator.backward(replace(text, future=replace(text.future, targets=absent)), make_state(model))
    assert gradients(estimator)["predictor.synthesizer.last.bias"].any()


def test_the_core_reads_embeddings_and_what_it_gives_is_the_output() -> None:
    model = make_language_model()
    text, state = make_text(STEPS), make_state(model)
    outputs, after = model(text.inputs, state)
    expected, expected_after = model.core(model.embedding.weight[text.inputs], state)
    assert_identical(outputs, expected)
    assert_identical(after, expected_after)


def test_dropout_is_on_embeddings_and_outputs_and_only_in_training() -> None:
    model = make_language_model(dropout=0.5)
    text, state = make_text(STEPS), make_state(model)
    with recorded_masks(model):
        outputs, after = model(text.inputs, state)
        dropouts: tuple[Any, ...] = (model.dropout, model.output_dropout)
        first, second = (dropout.recording.pop() for dropout in dropouts)
    inner, expected_after = model.core(model.embedding(text.inputs) * first, state)
    assert_close(outputs, inner * second)
    assert_close(after, expected_after)
    model.eval()
    outputs, _ = model(text.inputs, state)
    assert_identical(outputs, model.core(model.embedding(text.inputs), state)[0])


def test_it_begins_as_its_core_does() -> None:
    model = make_language_model(nn.LSTM(SIZE, SIZE, 2))
    assert_identical(model.initial_state(4), (torch.zeros(2, 4, SIZE).double(), torch.zeros(2, 4, SIZE).double()))
    own = OwnCore()
    assert_identical(leaves(make_language_model(own).initial_state(4)), leaves(own.initial_state(4)))


def test_tied_layers_share_one_matrix_and_its_gradient() -> None:
    model = make_language_model(tied=True)
    untied = make_language_model(tied=False)
    assert model.output.weight is model.embedding.weight
    assert untied.output.weight is not untied.embedding.weight
    untied.load_state_dict(model.state_dict())
    text = make_text(STEPS)
    for one in (model, untied):
        one.loss(one(text.inputs, make_state(one))[0], text.targets).mean().backward()
    apart = gradients(untied)
    assert_close(gradients(model)["embedding.weight"], apart["embedding.weight"] + apart["output.weight"])
    assert len(list(untied.parameters())) == len(list(model.parameters())) + 1


def test_tying_layers_of_other_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^tied needs embedding_size 4 and output_size 6 to be equal$"):
        LanguageModel(10, 4, LSTM(4, 6), 6, tied=True)


def test_all_parameters_are_drawn_from_the_initial_range() -> None:
    torch.manual_seed(0)
    model = LanguageModel(100, 40, LSTM(40, 40, 2), 40, tied=True, initial_range=0.03)
    for name, parameter in model.named_parameters():
        assert parameter.abs().max() <= 0.03, name
        assert parameter.abs().max() > 0.025, name
        assert parameter.mean().abs() < 0.01, name


def test_without_an_initial_range_the_cores_own_values_stay() -> None:
    torch.manual_seed(0)
    core = LSTM(SIZE, SIZE)
    before = {name: tensor.clone() for name, tensor in core.state_dict().items()}
    model = LanguageModel(VOCABULARY, SIZE, core, SIZE)
    assert_identical(dict(model.core.state_dict()), before)


def test_bfloat16_products_are_near_in_training_and_exact_in_evaluation() -> None:
    exact = make_language_model(dtype=torch.float32)
    coarse = make_language_model(dtype=torch.float32, output_precision=torch.bfloat16)
    text = make_text(50)
    losses = {}
    for training in (True, False):
        for name, model in (("exact", exact), ("coarse", coarse)):
            model.train(training).zero_grad()
            outputs, _ = model(text.inputs, make_state(model))
            assert outputs.dtype == torch.float32
            losses[name] = model.loss(outputs, text.targets)
            assert losses[name].dtype == torch.float32
            losses[name].mean().backward()
        if training:
            assert not torch.equal(losses["coarse"], losses["exact"])
            assert_close(losses["coarse"], losses["exact"], torch.bfloat16)
            for name, gradient in gradients(exact).items():
                assert (gradients(coarse)[name] - gradient).norm() < 0.02 * gradient.norm(), name
        else:
            assert_identical(losses["coarse"], losses["exact"])
            assert_identical(gradients(coarse), gradients(exact))


def standardized(vector: Tensor) -> Tensor:
    return (vector - vector.mean()) / (vector.var(correction=0) + 1e-5).sqrt()


def test_a_synthesizer_sees_tokens_as_the_model_does_standardized_and_held_constant() -> None:
    model = make_language_model()
    text = make_text(STEPS)
    features = model.step_features(text.inputs, text.targets)
    assert features.shape == (STEPS, ROWS, 2 * SIZE)
    assert not features.requires_grad
    read = standardized(model.embedding.weight[text.inputs[2, 1]])
    compared = standardized(model.output.weight[text.targets[2, 1]])
    assert_close(features[2, 1], torch.cat([read, compared]).detach())
    of_inputs = model.input_features(text.inputs)
    assert not of_inputs.requires_grad
    assert_identical(of_inputs, features[..., :SIZE])


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, 4 * 32),
        ({"lookahead": 7, "projection": 2}, 7 * 2),
        ({"lookahead": 0}, 0),
    ],
)
def test_it_makes_perceptrons_that_fit_it(options: dict[str, Any], size: int) -> None:
    model = make_language_model()
    synthesizer = model.mlp_synthesizer(**options, hidden_sizes=(9, 8), auxiliary=True)
    state_features = 2 * 2 * SIZE  # two layers of hidden and cell
    assert synthesizer.input_size == state_features + size
    assert synthesizer.lookahead == options.get("lookahead", 4)
    assert synthesizer.feature_size == 2 * SIZE
    assert [layer.out_features for layer in synthesizer.hidden if isinstance(layer, nn.Linear)] == [9, 8]
    assert synthesizer.last.out_features == 2 * state_features


@pytest.mark.parametrize(
    ("make_core", "options"),
    [
        (lambda: LSTM(SIZE, 5, 2), {}),
        (lambda: GRU(SIZE, 5), {"lookahead": 3, "hidden_size": 9, "rank": 6, "projection": 4, "near": 1}),
        (OwnCore, {"lookahead": 2}),
    ],
)
def test_it_makes_synthesizers_that_fit_it(options: dict[str, Any], make_core: Callable[[], nn.Module]) -> None:
    core = make_core()
    output_size = SIZE if isinstance(core, OwnCore) else 5
    model = LanguageModel(VOCABULARY, SIZE, core, output_size)
    synthesizer = model.synthesizer(**options)
    steps, rank, near = options.get("lookahead", 8), options.get("rank", 8), options.get("near", 1)
    assert synthesizer.lookahead == steps
    assert synthesizer.output_projection.shape == (steps, output_size, rank)
    assert synthesizer.input_projection.shape == (near, SIZE, options.get("projection", 16))
    assert synthesizer.state_projection.out_features == options.get("hidden_size", 32)
    assert len(synthesizer.gain) == near
    state = model.initial_state(ROWS)
    features = model.input_features(make_text(near).inputs)
    lookahead = Lookahead(features, None, torch.randn(steps, ROWS, output_size))
    assert synthesizer(state, lookahead).shape == (ROWS, 1, state_size(state))
    adjoint = model.adjoint_synthesizer(4)
    assert (adjoint.window, adjoint.lookahead, adjoint.feature_size) == (4, 4, SIZE)


def test_an_overridden_or_bare_output_layer_is_that_of_the_loss() -> None:
    class Flat(LanguageModel):
        def logits(self, outputs: Tensor) -> Tensor:
            return 0 * super().logits(outputs)

    model = Flat(VOCABULARY, SIZE, LSTM(SIZE, SIZE), SIZE)
    tokens = torch.zeros(4, ROWS, dtype=torch.long)
    outputs, _ = model(tokens, model.initial_state(ROWS))
    assert_close(model.loss(outputs, tokens), torch.full((4, ROWS), log(VOCABULARY)))
    bare = make_language_model(LSTM(SIZE, SIZE), dtype=torch.float32)
    bare.output = nn.Linear(SIZE, VOCABULARY, bias=False)
    assert bare.loss(outputs, tokens).shape == (4, ROWS)
