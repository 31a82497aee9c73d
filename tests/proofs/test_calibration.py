"""A synthesizer that is linear in the output gradients ahead predicts nothing in the mean of what a model expects.

Its coefficients see no input later than the output gradient that they belong to; and the mean of an output gradient
under the model's own predictive distribution, given all that came before, is zero.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from models import VOCABULARY, make_language_model, make_state, make_text
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.estimators import SyntheticGradients
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.state import State, map_state, state_size
from sgrnn.synthesizers import Lookahead, Synthesizer

STEPS = 7


def random_weights(synthesizer: Synthesizer) -> None:
    torch.manual_seed(5)
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter, std=0.5)


class Futures(NamedTuple):
    """One past with every future of n tokens, a row each.

    Args:
        tokens: (n, rows) that come.
        chances: (rows,) of each future by the model itself.
        predicted: (rows, features) at the span's end.
        state, lookahead: that it was predicted from.
    """

    tokens: Tensor
    chances: Tensor
    predicted: Tensor
    state: State
    lookahead: Lookahead


def predict_all_futures(model: LanguageModel, synthesizer: Synthesizer) -> Futures:
    steps = synthesizer.lookahead
    coming = torch.cartesian_prod(*[torch.arange(VOCABULARY)] * steps).view(-1, steps).T
    rows = coming.shape[1]
    past = make_text(STEPS, rows=1)
    inputs = torch.cat([past.targets[-1:].expand(1, rows), coming[:-1]])
    span = Span(past.inputs.expand(STEPS, rows), past.targets.expand(STEPS, rows), future=Span(inputs, coming))
    state = map_state(lambda one: one.expand(*one.shape[:-2], rows, -1).contiguous(), make_state(model, rows=1))
    calls: list[tuple[Any, Tensor]] = []
    handle = synthesizer.register_forward_hook(lambda module, seen, result: calls.append((seen, result.detach())))
    estimator = SyntheticGradients(model, model.loss, 3, synthesizer=synthesizer, ahead="model").double()
    step = estimator.backward(span, state)
    handle.remove()
    with torch.no_grad():
        logits = model.logits(model(inputs, step.state)[0])
    chances = F.softmax(logits, dim=-1).gather(2, coming.unsqueeze(2)).squeeze(2).prod(dim=0)
    assert_close(chances.sum(), torch.ones((), dtype=torch.float64))
    (states, lookahead), predicted = calls[0]
    last = tuple(tensor[:, -rows:] for tensor in states)
    return Futures(coming, chances, predicted[-rows:, 0], last, lookahead.rows(-rows, None))


def test_the_mean_prediction_is_zero_over_what_the_model_itself_expects_to_come() -> None:
    """And so is the part of each output gradient, also among the futures that share all tokens before its own."""
    model = make_language_model()
    synthesizer = model.synthesizer(2, hidden_size=12, rank=5, projection=4).double()
    random_weights(synthesizer)
    tokens, chances, predicted, state, lookahead = predict_all_futures(model, synthesizer)
    assert predicted.shape[1] == state_size(state)
    assert predicted.abs().mean() > 0.1
    assert (chances @ predicted).abs().max() < 1e-12
    assert predicted.mean(dim=0).abs().max() > 0.01, "not so for another distribution"
    ahead = lookahead.output_gradients
    assert ahead is not None
    for step in range(2):
        one = torch.zeros_like(ahead)
        one[step] = ahead[step]
        part = synthesizer(state, replace(lookahead, output_gradients=one))[:, 0].detach()
        same_past = [tokens[0] == token for token in range(VOCABULARY)] if step == 1 else []
        for rows in (torch.ones_like(tokens[0], dtype=torch.bool), *same_past):
            assert part[rows].abs().mean() > 0.1
            assert (chances[rows] @ part[rows]).abs().max() < 1e-12


def test_a_perceptron_that_sees_the_same_tokens_has_a_mean() -> None:
    model = make_language_model()
    synthesizer = model.mlp_synthesizer(2, hidden_sizes=(12,)).double()
    random_weights(synthesizer)
    futures = predict_all_futures(model, synthesizer)
    assert (futures.chances @ futures.predicted).abs().max() > 0.01
