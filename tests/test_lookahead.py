"""Lookahead: which steps a boundary sees, compared with a search step by step, and how encoders read them."""

import random

import pytest
import torch
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.span import Span
from sgrnn.synthesizers.lookahead import (
    Lookahead,
    LookaheadEncoder,
    RecurrentLookahead,
    TokenFeatures,
    look_ahead,
    vector_features,
)

ROWS = 3


def seen_by_hand(span: Span, edge: int, row: int, steps: int) -> list[tuple[int, int] | None]:
    """The next steps (input, target) of a row after a boundary, one by one, None where they are not to be seen."""
    pieces = [span] if span.future is None else [span, span.future]
    seen: list[tuple[int, int] | None] = []
    alive = True
    for place in range(edge, edge + steps):
        piece, step = (0, place) if place < span.steps else (1, place - span.steps)
        if piece >= len(pieces) or step >= pieces[piece].steps:
            alive = False
        else:
            is_first = pieces[piece].is_first
            if is_first is not None and is_first[step, row]:
                alive = False
            if place == span.steps and span.is_last is not None and span.is_last[row]:
                alive = False
        seen.append((int(pieces[piece].inputs[step, row]), int(pieces[piece].targets[step, row])) if alive else None)
    return seen


def random_piece(steps: int, first_token: int, chance: random.Random, future: Span | None = None) -> Span:
    """Every token another number."""
    tokens = first_token + torch.arange(2 * steps * ROWS).view(2, steps, ROWS)
    is_first = is_last = None
    if chance.random() < 0.6:
        is_first = torch.tensor([[chance.random() < 0.15 for _ in range(ROWS)] for _ in range(steps)])
    if chance.random() < 0.4:
        is_last = torch.tensor([chance.random() < 0.5 for _ in range(ROWS)])
    return Span(tokens[0], tokens[1], is_first, is_last, future)


@pytest.mark.parametrize("seed", range(60))
def test_it_sees_what_a_search_step_by_step_sees(seed: int) -> None:
    chance = random.Random(seed)
    future = random_piece(chance.randint(1, 6), 1000, chance) if chance.random() < 0.7 else None
    span = random_piece(chance.randint(1, 9), 0, chance, future)
    window, steps = chance.randint(1, 4), chance.randint(1, 7)
    edges = [*range(0, span.steps, window), span.steps]
    found = look_ahead(span, edges, steps)
    assert found.inputs.shape == found.targets.shape == (steps, len(edges) * ROWS)
    for number, edge in enumerate(edges):
        for row in range(ROWS):
            column = number * ROWS + row
            for step, expected in enumerate(seen_by_hand(span, edge, row, steps)):
                assert found.valid is None or bool(found.valid[step, column]) is (expected is not None)
                assert found.valid is not None or expected is not None
                if expected is not None:
                    assert (int(found.inputs[step, column]), int(found.targets[step, column])) == expected


def test_where_all_is_known_nothing_is_masked() -> None:
    span = Span(torch.zeros(4, ROWS), torch.zeros(4, ROWS), future=Span(torch.zeros(3, ROWS), torch.zeros(3, ROWS)))
    assert look_ahead(span, [0, 2, 4], 3).valid is None
    assert look_ahead(span, [0, 2, 4], 4).valid is not None


def test_steps_may_be_vectors() -> None:
    inputs, targets = torch.randn(4, ROWS, 5), torch.randn(4, ROWS, 2)
    found = look_ahead(Span(inputs, targets), [0, 1, 4], 2)
    assert_identical(found.inputs[:, ROWS : 2 * ROWS], inputs[1:3])
    assert_identical(found.targets[:, ROWS : 2 * ROWS], targets[1:3])
    assert found.valid is not None
    assert found.valid.tolist() == [[True] * 2 * ROWS + [False] * ROWS] * 2


@pytest.mark.parametrize("future_steps", [1, 3, 8])
def test_errors_are_those_of_the_steps_that_are_seen(future_steps: int) -> None:
    steps, known = 3, 5 + min(future_steps, 3)
    numbers = torch.arange((5 + future_steps) * ROWS).view(5 + future_steps, ROWS)
    span = Span(numbers[:5], numbers[:5], future=Span(numbers[5:], numbers[5:]))
    errors = torch.stack([numbers[:known], -numbers[:known]], dim=2).double()  # of each step, its own number
    found = look_ahead(span, [0, 2, 4, 5], steps, errors)
    assert found.errors is not None
    assert found.errors.shape == (steps, 4 * ROWS, 2)
    valid = torch.ones(steps, 4 * ROWS, dtype=torch.bool) if found.valid is None else found.valid
    assert_identical(found.errors[valid], torch.stack([found.inputs[valid], -found.inputs[valid]], dim=1).double())
    assert look_ahead(span, [0, 2, 4, 5], steps).errors is None


def test_some_rows_of_a_lookahead_are_what_they_were_among_all() -> None:
    span = Span(torch.arange(4 * ROWS).view(4, ROWS), torch.arange(4 * ROWS).view(4, ROWS) + 50)
    whole = look_ahead(span, [0, 2, 4], 3, torch.randn(4, ROWS, 2))
    part = whole.rows(ROWS, -1)
    assert whole.errors is not None
    assert part.errors is not None
    assert_identical(part.errors, whole.errors[:, ROWS:-1])
    assert whole.valid is not None
    assert part.valid is not None
    assert_identical((part.inputs, part.targets), (whole.inputs[:, ROWS:-1], whole.targets[:, ROWS:-1]))
    assert_identical(part.valid, whole.valid[:, ROWS:-1])
    bare = Lookahead(whole.inputs, whole.targets, None).rows(1, None)
    assert (bare.valid, bare.errors) == (None, None)


def test_looking_does_not_change_the_span() -> None:
    is_first = torch.zeros(2, ROWS, dtype=torch.bool)
    future = Span(torch.zeros(2, ROWS), torch.zeros(2, ROWS), is_first)
    look_ahead(
        Span(torch.zeros(2, ROWS), torch.zeros(2, ROWS), is_last=torch.ones(ROWS).bool(), future=future), [0, 2], 4
    )
    assert not is_first.any()


def tokens_ahead(valid: Tensor | None = None) -> Lookahead:
    torch.manual_seed(0)
    return Lookahead(torch.randint(10, (3, 4)), torch.randint(10, (3, 4)), valid)


VALID = torch.tensor([[True, True, False, True], [True, False, False, True], [True, False, False, False]])
ENCODERS = {
    "as they are": lambda features: LookaheadEncoder(3, features, 10),
    "projected": lambda features: LookaheadEncoder(3, features, 10, projection=2),
    "recurrent": lambda features: RecurrentLookahead(3, features, 10, hidden_size=7),
}


def encoder(kind: str) -> LookaheadEncoder | RecurrentLookahead:
    torch.manual_seed(1)
    return ENCODERS[kind](TokenFeatures(10, 5)).double()


def test_token_features_are_both_embeddings_side_by_side() -> None:
    features, ahead = TokenFeatures(10, 5), tokens_ahead()
    assert features.feature_size == 10
    found = features(ahead.inputs, ahead.targets)
    for step in range(3):
        for row in range(4):
            read = features.inputs.weight[ahead.inputs[step, row]]
            compared = features.targets.weight[ahead.targets[step, row]]
            assert_identical(found[step, row], torch.cat([read, compared]))


def test_vector_features_are_both_vectors_side_by_side() -> None:
    inputs, targets = torch.randn(3, 4, 2), torch.randint(5, (3, 4, 1))
    found = vector_features(inputs, targets)
    assert_identical(found[..., :2], inputs)
    assert_identical(found[..., 2:], targets.to(torch.get_default_dtype()))


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_gives_one_vector_per_row_of_the_size_it_names(kind: str) -> None:
    reader = encoder(kind)
    assert reader.steps == 3
    assert reader(tokens_ahead()).shape == (4, reader.output_size)


def test_unprojected_steps_stand_side_by_side_the_nearest_first() -> None:
    reader, ahead = encoder("as they are"), tokens_ahead(VALID)
    features = reader.features(ahead.inputs, ahead.targets)
    expected = torch.cat([features[step] * VALID[step].unsqueeze(1) for step in range(3)], dim=1)
    assert_close(reader(ahead), expected)


def test_each_place_has_a_projection_of_its_own() -> None:
    reader, ahead = encoder("projected"), tokens_ahead(VALID)
    assert isinstance(reader, LookaheadEncoder)
    assert reader.weight is not None
    features = reader.features(ahead.inputs, ahead.targets)
    parts = [features[step] @ reader.weight[step] * VALID[step].unsqueeze(1) for step in range(3)]
    assert_close(reader(ahead), torch.cat(parts, dim=1))


def test_the_recurrent_encoder_reads_the_furthest_step_first() -> None:
    reader, ahead = encoder("recurrent"), tokens_ahead()
    assert isinstance(reader, RecurrentLookahead)
    hidden = torch.zeros(1, 4, 7, dtype=torch.float64)
    for step in (2, 1, 0):
        _, hidden = reader.encoder(reader.features(ahead.inputs, ahead.targets)[step : step + 1], hidden)
    assert_close(reader(ahead), hidden[0])


@pytest.mark.parametrize("kind", ENCODERS)
def test_steps_that_are_not_valid_are_not_seen_and_all_others_are(kind: str) -> None:
    reader, ahead = encoder(kind), tokens_ahead(VALID)
    before = reader(ahead)
    for step in range(3):
        for row in range(4):
            for which in ("inputs", "targets"):
                changed = {name: getattr(ahead, name).clone() for name in ("inputs", "targets")}
                changed[which][step, row] = (changed[which][step, row] + 1) % 10
                moved = (reader(Lookahead(**changed, valid=VALID)) - before).abs().amax(dim=1) > 1e-9
                assert moved.tolist() == [other == row and bool(VALID[step, row]) for other in range(4)]


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_trains_its_own_embeddings_and_weights(kind: str) -> None:
    reader = encoder(kind)
    reader(tokens_ahead()).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in reader.parameters())


def test_an_encoder_does_not_own_the_model_it_sees_through() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10, 10)

        def features(self, inputs: Tensor, targets: Tensor) -> Tensor:
            return self.embedding(inputs)

    assert list(LookaheadEncoder(3, Model().features, 10).parameters()) == []


@pytest.mark.parametrize("steps", [0, -1])
@pytest.mark.parametrize("kind", [LookaheadEncoder, RecurrentLookahead])
def test_no_steps_at_all_are_refused(kind: type, steps: int) -> None:
    message = f"^a lookahead must be at least 1 step, got {steps}; leave the encoder out for none$"
    with pytest.raises(ValueError, match=message):
        kind(steps, vector_features, 4, 4)
