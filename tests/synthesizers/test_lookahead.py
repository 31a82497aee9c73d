"""The steps after a boundary, compared with a search step by step."""

import random

import pytest
import torch
from tolerances import assert_identical

from sgrnn.span import Span
from sgrnn.synthesizers.lookahead import Lookahead, steps_after

ROWS = 3


def seen_by_hand(span: Span, boundary: int, row: int, steps: int) -> list[tuple[int, int] | None]:
    """The next steps (input, target) of a row after a boundary, one by one, None where they are not to be seen."""
    pieces = [span] if span.future is None else [span, span.future]
    seen: list[tuple[int, int] | None] = []
    alive = True
    for place in range(boundary, boundary + steps):
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


@pytest.mark.parametrize("within", [False, True])
def test_they_are_what_a_search_step_by_step_sees(within: bool) -> None:
    for seed in range(25):
        chance = random.Random(seed)
        future = random_piece(chance.randint(1, 6), 1000, chance) if chance.random() < 0.7 else None
        span = random_piece(chance.randint(1, 9), 0, chance, future)
        window, steps = chance.randint(1, 4), chance.randint(1, 7)
        boundaries = [*range(0, span.steps, window), span.steps]
        after = steps_after(span, boundaries, steps, within=within)
        inputs, targets = after.inputs(span), after.targets(span)
        assert inputs.shape == targets.shape == (steps, len(boundaries) * ROWS)
        for number, boundary in enumerate(boundaries):
            for row in range(ROWS):
                column = number * ROWS + row
                for step, expected in enumerate(seen_by_hand(span, boundary, row, steps)):
                    if within and number + 1 < len(boundaries) and boundary + step >= boundaries[number + 1]:
                        expected = None
                    assert after.valid is None or bool(after.valid[step, column]) is (expected is not None)
                    assert after.valid is not None or expected is not None
                    if expected is not None:
                        assert (int(inputs[step, column]), int(targets[step, column])) == expected


def test_where_all_is_known_nothing_is_masked() -> None:
    span = Span(torch.zeros(4, ROWS), torch.zeros(4, ROWS), future=Span(torch.zeros(3, ROWS), torch.zeros(3, ROWS)))
    assert steps_after(span, [0, 2, 4], 3).valid is None
    assert steps_after(span, [0, 2, 4], 4).valid is not None


def test_steps_may_be_vectors_and_carry_a_graph_that_is_left_out() -> None:
    inputs, targets = torch.randn(4, ROWS, 5, requires_grad=True), torch.randn(4, ROWS, 2)
    span = Span(inputs, targets)
    after = steps_after(span, [0, 1, 4], 2)
    assert_identical(after.inputs(span)[:, ROWS : 2 * ROWS], inputs.detach()[1:3])
    assert not after.inputs(span).requires_grad
    assert_identical(after.targets(span)[:, ROWS : 2 * ROWS], targets[1:3])
    assert after.valid is not None
    assert after.valid.tolist() == [[True] * 2 * ROWS + [False] * ROWS] * 2


def test_looking_does_not_change_the_span() -> None:
    is_first = torch.zeros(2, ROWS, dtype=torch.bool)
    future = Span(torch.zeros(2, ROWS), torch.zeros(2, ROWS), is_first)
    steps_after(
        Span(torch.zeros(2, ROWS), torch.zeros(2, ROWS), is_last=torch.ones(ROWS).bool(), future=future), [0, 2], 4
    )
    assert not is_first.any()


def test_some_rows_of_a_lookahead_are_what_they_were_among_all() -> None:
    whole = Lookahead(torch.randn(2, 9, 5), torch.rand(3, 9) < 0.5, torch.randn(3, 9, 2))
    part = whole.rows(ROWS, -1)
    for name in ("features", "valid", "output_gradients"):
        assert_identical(getattr(part, name), getattr(whole, name)[:, ROWS:-1])
    assert Lookahead(None, None).rows(1, None) == Lookahead(None, None)
