"""Penalties on the outputs of steps beyond a span weigh as in a span of its length, and not across starts."""

import torch
from models import VOCABULARY, make_state, make_text, mark
from tolerances import assert_close

from sgrnn.cores import LSTM
from sgrnn.estimators import ExactAhead
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.state import cut, leaves, to_matrix

STEPS, ROWS, AHEAD, UNITS = 6, 3, 3, 4


def test_the_true_gradient_of_the_steps_beyond_a_span_holds_their_penalties() -> None:
    torch.manual_seed(0)
    model = LanguageModel(
        VOCABULARY, UNITS, LSTM(UNITS, UNITS), UNITS, activation_regularization=0.7,
        temporal_activation_regularization=0.9, initial_range=0.8, output_precision=torch.float64,
    ).double()  # fmt: skip
    tokens = torch.randint(0, VOCABULARY, (AHEAD + 1, ROWS), generator=torch.Generator().manual_seed(5))
    future = Span(tokens[:-1], tokens[1:], mark(AHEAD, ROWS, [(2, 0)]))  # the first row's third step begins anew
    span = make_text(STEPS, ROWS, future=future)
    seen = ExactAhead(model, model.loss, STEPS, AHEAD).look(span, make_state(model))

    with torch.no_grad():
        _, after = model(span.inputs, make_state(model))
    first = cut(after)
    outputs, _ = model(future.inputs, first)
    objective = model.loss(outputs, future.targets) + 0.7 * outputs.square().mean(-1)
    changes = 0.9 * STEPS / (STEPS - 1) * outputs.diff(dim=0).square().mean(-1)
    counted = ~torch.zeros(AHEAD, ROWS, dtype=torch.bool)
    counted[2, 0] = False
    (objective[counted].sum() + changes[counted[1:]].sum()).backward()
    expected = to_matrix([leaf.grad for leaf in leaves(first)])
    assert_close(seen.predicted[-ROWS:], expected)
