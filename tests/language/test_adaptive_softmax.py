"""Adaptive softmax: chances by their equation, gradients of plain autograd, and a model that knows what it lacks."""

from typing import Any

import pytest
import torch
from models import ROWS, SIZE, VOCABULARY, make_language_model, make_state, make_text
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.cores import LSTM
from sgrnn.cores.locked import one_span
from sgrnn.estimators import BPTT, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.ahead import steps_to_run
from sgrnn.models.adaptive_softmax import AdaptiveSoftmax
from sgrnn.models.evaluation import token_nats
from sgrnn.models.generation import generate
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span

CUTOFFS = [4, 8]  # of 11 tokens: four with chances of their own, clusters of four and of three
STEPS = 6


def make_adaptive(**options: Any) -> LanguageModel:
    torch.manual_seed(7)
    return make_language_model(output=AdaptiveSoftmax(SIZE, VOCABULARY, CUTOFFS, div_value=1.5), **options)


def chance(layer: AdaptiveSoftmax, features: Tensor, token: int) -> Tensor:
    """p(token) = p(token) of the head, or p(cluster) of the head times p(token | cluster), from the weights."""
    head = layer.clusters.head.weight @ features
    head = head.exp() / head.exp().sum()
    if token < CUTOFFS[0]:
        return head[token]
    cluster = sum(token >= cutoff for cutoff in CUTOFFS) - 1
    projection, rows = layer.clusters.tail[cluster].parameters()
    within = rows @ (projection @ features)
    return head[CUTOFFS[0] + cluster] * (within.exp() / within.exp().sum())[token - CUTOFFS[cluster]]


def by_hand(model: LanguageModel, text: Span) -> dict[str, Tensor]:
    """Gradients of the mean loss over a span, by the equation and plain autograd."""
    outputs, _ = model(text.inputs, make_state(model))
    chances = [
        chance(model.output, outputs[step, row], int(text.targets[step, row]))
        for step in range(text.steps)
        for row in range(ROWS)
    ]
    loss = -torch.stack(chances).log().mean()
    names = dict(model.named_parameters())
    return dict(zip(names, torch.autograd.grad(loss, list(names.values())), strict=True))


def test_locked_dropout_of_outputs_is_before_heads_and_clusters() -> None:
    model, text = make_adaptive(locked_dropout=True, output_dropout=0.5), make_text(STEPS)
    outputs, _ = model(text.inputs, make_state(model))
    with one_span(model, ROWS):
        losses, chances = model.loss(outputs, text.targets), model.logits(outputs)
    assert_close(losses, -chances.gather(-1, text.targets.unsqueeze(-1)).squeeze(-1))
    model.eval()
    assert not torch.allclose(losses, model.loss(outputs, text.targets))


def test_chances_are_those_of_heads_and_clusters_and_add_up_to_one() -> None:
    model = make_adaptive()
    text = make_text(STEPS)
    outputs, _ = model(text.inputs, make_state(model))
    losses, logits = model.loss(outputs, text.targets), model.logits(outputs)
    assert losses.shape == (STEPS, ROWS)
    assert_close(logits.exp().sum(-1), torch.ones(STEPS, ROWS).double())
    for token in range(VOCABULARY):
        assert_close(logits[2, 1, token].exp(), chance(model.output, outputs[2, 1], token))
    assert_close(losses, -logits.gather(-1, text.targets.unsqueeze(-1)).squeeze(-1))


@pytest.mark.parametrize("estimator", ["bptt", "windows", "windows one by one", "synthetic"])
def test_parameter_gradients_are_those_of_plain_autograd(estimator: str) -> None:
    model = make_adaptive()
    text = make_text(STEPS, is_last=torch.ones(ROWS, dtype=torch.bool))
    if estimator == "synthetic":  # of one window, beyond which nothing lies
        made = SyntheticGradients(model, model.loss, STEPS, synthesizer=model.synthesizer(2).double())
    elif estimator == "bptt":
        made = BPTT(model, model.loss)
    else:
        made = TruncatedBPTT(model, model.loss, STEPS, low_memory=estimator == "windows one by one")
    expected = by_hand(model, text)
    made.backward(text, make_state(model))
    assert_close({name: parameter.grad for name, parameter in model.named_parameters()}, expected)


def test_every_cluster_has_a_gradient_of_zeros_where_none_of_its_tokens_came() -> None:
    model = make_adaptive()
    tokens = torch.zeros(STEPS, ROWS, dtype=torch.long)
    BPTT(model, model.loss).backward(Span(tokens, tokens), make_state(model))
    for parameter in model.output.clusters.tail.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


def test_it_does_not_know_gradients_from_targets_and_the_model_is_run_ahead() -> None:
    model = make_adaptive()
    synthesizer = model.synthesizer(3)
    plain = make_language_model()
    assert steps_to_run(plain, plain.loss, synthesizer, None, None) == (0, "targets")
    assert steps_to_run(model, model.loss, synthesizer, None, None) == (3, "model")
    with pytest.raises(ValueError, match="ahead must be model for a model without a method target_gradients"):
        SyntheticGradients(model, model.loss, 2, synthesizer=synthesizer, ahead="targets")


def test_a_perceptron_sees_targets_by_their_embeddings() -> None:
    model = make_adaptive()
    text = make_text(STEPS)
    features = model.step_features(text.inputs, text.targets)
    assert features.shape == (STEPS, ROWS, 2 * SIZE)
    assert model.mlp_synthesizer().feature_size == 2 * SIZE
    assert_close(features, torch.cat([model.input_features(text.inputs), model.input_features(text.targets)], dim=-1))


def test_texts_are_scored_and_drawn_by_its_chances() -> None:
    model = make_adaptive()
    tokens = make_text(40, 1).inputs.flatten()
    nats = token_nats(model, tokens, first=0, batch_size=3, chunk=4)
    inputs = torch.cat([tokens.new_zeros(1), tokens[:-1]]).unsqueeze(1)
    outputs, _ = model(inputs, model.initial_state(1))
    assert_close(nats, -model.logits(outputs)[:, 0].gather(1, tokens.unsqueeze(1)).squeeze(1).detach())
    drawn, read = list(generate(model, [3], 6, temperature=0)), [3]
    for token in drawn:
        outputs, _ = model(torch.tensor(read).unsqueeze(1), model.initial_state(1))
        assert token == int(torch.stack([chance(model.output, outputs[-1, 0], each) for each in range(11)]).argmax())
        read.append(token)


def test_hooks_on_it_are_called() -> None:
    model = make_adaptive()
    text = make_text(STEPS)
    outputs, _ = model(text.inputs, make_state(model))
    before = model.loss(outputs, text.targets)
    called: list[nn.Module] = []
    model.output.register_forward_hook(lambda module, inputs, output: called.append(module))
    assert_close(model.loss(outputs, text.targets), before)
    assert called == [model.output]


@pytest.mark.parametrize(
    ("cutoffs", "options", "message"),
    [
        ([], {}, r"cutoffs must be one or more, increase from 1 and stay below the vocabulary's size, 50, got \[\]"),
        ([9, 9], {}, r"cutoffs must .* got \[9, 9\]"),
        ([0, 9], {}, r"cutoffs must .* got \[0, 9\]"),
        ([9, 50], {}, r"cutoffs must .* got \[9, 50\]"),
        ([9], {"div_value": 0.5}, "div_value must be at least 1, got 0.5"),
        ([9, 19], {"div_value": 3}, "div_value leaves cluster 2 none of 8 features, got 3: make it or the number of"),
    ],
)
def test_cutoffs_that_make_no_clusters_are_refused(cutoffs: list[int], options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptiveSoftmax(8, 50, cutoffs, **options)


def test_an_output_layer_that_does_not_fit_is_refused() -> None:
    layer = AdaptiveSoftmax(8, 50, [10])
    with pytest.raises(
        ValueError, match="tied must be False with an adaptive softmax, which has no row for each token"
    ):
        LanguageModel(50, 8, LSTM(8, 8), 8, tied=True, output=layer)
    for tokens, size in ((51, 8), (50, 9)):
        with pytest.raises(
            ValueError, match=f"read output_size {size} features and have vocabulary_size {tokens} tokens"
        ):
            LanguageModel(tokens, 8, LSTM(8, size), size, output=layer)
