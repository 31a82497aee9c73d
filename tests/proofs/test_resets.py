"""A state that is reset at every line: each line by itself, by hand, in training and in evaluation."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from models import VOCABULARY, as_if_trained, gradients, make_language_model, make_state, train_on
from tolerances import assert_close
from torch import Tensor

from sgrnn.data import TokenStream
from sgrnn.data.beginnings import line_beginnings
from sgrnn.estimators import BPTT, SyntheticGradients, TruncatedBPTT
from sgrnn.models.evaluation import evaluate
from sgrnn.models.language_model import LanguageModel

EOS = 3
ROWS = 2


def make_tokens(*lengths: int) -> np.ndarray:
    """Lines of these numbers of tokens, line ends included."""
    draw = np.random.default_rng(0)
    others = [token for token in range(VOCABULARY) if token != EOS]
    return np.array([token for length in lengths for token in [*draw.choice(others, length - 1), EOS]])


def nats_of_line(model: LanguageModel, line: list[int], before: int = EOS) -> Tensor:
    """Negative log-probability of a line that is read from the initial state on, token by token."""
    state, total = model.initial_state(1), torch.zeros((), dtype=torch.float64)
    for read, expected in pairwise([before, *line]):
        outputs, state = model(torch.tensor([[read]]), state)
        total = total - model.logits(outputs)[0, 0].log_softmax(dim=0)[expected]
    return total


def lines_of(tokens: list[int]) -> list[list[int]]:
    ends = [place + 1 for place, token in enumerate(tokens) if token == EOS]
    return [tokens[start:end] for start, end in pairwise(sorted({0, *ends, len(tokens)}))]


TOKENS = make_tokens(3, 1, 5, 2, 4, 7, 1, 1)  # the second of two rows begins within a line


def test_training_learns_each_line_by_itself() -> None:
    model = make_language_model()
    rows = [TOKENS[:12].tolist(), TOKENS[12:].tolist()]
    total = sum(
        (
            nats_of_line(model, line, EOS if number or row == 0 else int(TOKENS[11]))
            for row, tokens in enumerate(rows)
            for number, line in enumerate(lines_of(tokens))
        ),
        torch.zeros(()),
    )
    total.backward()
    expected = gradients(model)
    span = next(TokenStream(TOKENS, EOS, ROWS, 12, begins=line_beginnings(TOKENS, EOS)))
    found, (step,) = train_on(BPTT(model, model.loss), [span], make_state(model, ROWS))
    assert_close(step.loss * 24, total.detach())
    assert_close(found, expected)
    whole = next(TokenStream(TOKENS, EOS, ROWS, 12))
    assert abs(train_on(BPTT(model, model.loss), [whole], make_state(model, ROWS))[1][0].loss - step.loss) > 1e-3


def test_evaluation_scores_each_line_by_itself_whatever_the_batch() -> None:
    model = make_language_model(dropout=0.3).eval()
    begins = torch.from_numpy(line_beginnings(TOKENS, EOS))
    with torch.no_grad():
        expected = sum(float(nats_of_line(model, line)) for line in lines_of(TOKENS.tolist()))
    for batch_size, chunk in ((1, 50), (2, 3), (5, 1), (24, 50)):
        found = evaluate(model, torch.from_numpy(TOKENS), EOS, begins=begins, batch_size=batch_size, chunk=chunk)
        assert found == pytest.approx(expected, rel=1e-12)
    assert abs(evaluate(model, torch.from_numpy(TOKENS), EOS) - expected) > 1e-3
    with pytest.raises(ValueError, match="begins must have 24 entries like tokens, got"):
        evaluate(model, torch.from_numpy(TOKENS), EOS, begins=begins[:-1])


@pytest.mark.parametrize("kind", ["mlp", "error", "adjoint"])
@pytest.mark.parametrize("parallel", [False, True])
def test_no_synthetic_gradient_crosses_into_another_line(kind: str, parallel: bool) -> None:
    """Where every boundary is between two lines, the end of a span too, nothing is left but truncation."""
    model = make_language_model()
    synthesizer = {
        "mlp": lambda: model.mlp_synthesizer(lookahead=0, hidden_sizes=(4,)),
        "error": lambda: model.synthesizer(lookahead=4, hidden_size=4, rank=2, projection=2),
        "adjoint": lambda: model.adjoint_synthesizer(3, hidden_size=4, rank=2, projection=2),
    }[kind]()
    synthetic = as_if_trained(SyntheticGradients(model, model.loss, 3, synthesizer=synthesizer, parallel=parallel))
    for lengths, equal in (((3,) * 8, True), ((4,) * 6, False)):
        tokens = make_tokens(*lengths)
        found = []
        for estimator in (synthetic, TruncatedBPTT(model, model.loss, 3)):
            stream = TokenStream(tokens, EOS, ROWS, 6, estimator.lookahead, begins=line_beginnings(tokens, EOS))
            spans = [next(stream), next(stream)]
            found.append(train_on(estimator, spans, make_state(model, ROWS))[0])
        differ = max(float((one - other).abs().max()) for one, other in zip(*map(dict.values, found), strict=True))
        assert (differ < 1e-12) == equal
