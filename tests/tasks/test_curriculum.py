"""The curriculum against a table written by hand, and when it goes on."""

from sgrnn.tasks import Copy, RepeatCopy

# N, R and total length (R + 1) N + 3
TABLE = [
    (1, 1, 5),
    (2, 1, 7),
    (2, 2, 9),
    (3, 2, 12),
    (3, 3, 15),
    (4, 3, 19),
    (4, 4, 23),
    (5, 4, 28),
    (5, 5, 33),
    (6, 5, 39),
    (6, 6, 45),
    (7, 6, 52),
    (7, 7, 59),
    (8, 7, 67),
]
REPEAT_COPY_OF_TABLE_1 = {7, 5, 19, 23, 39, 33, 59, 67}


def test_repeat_copy_goes_through_the_table() -> None:
    task = RepeatCopy(2)
    found = []
    for _ in TABLE:
        found.append((task.vectors, task.repeats, task.draw().steps))
        assert task.length == found[-1][2]
        assert task.observe(0.0)
    assert found == TABLE
    assert {length for _, _, length in TABLE} >= REPEAT_COPY_OF_TABLE_1
    task.vectors, task.repeats = 4, 2
    assert task.draw().steps == task.length == 15, "the difficulty can be set by hand"


def test_repeats_beyond_the_vectors_are_kept_and_copy_grows_by_one_vector() -> None:
    task = RepeatCopy(2, vectors=1, repeats=3)
    found = []
    for _ in range(6):
        task.advance()
        found.append((task.vectors, task.repeats))
    assert found == [(2, 3), (3, 3), (4, 3), (4, 4), (5, 4), (5, 5)]
    copy = Copy(2)
    grown = []
    for _ in range(4):
        grown.append((copy.length, copy.draw().steps))
        copy.advance()
    assert grown == [(1, 4), (2, 6), (3, 8), (4, 10)]


def test_it_goes_on_when_the_loss_is_under_the_threshold() -> None:
    for threshold, loss, advances in (
        (0.15, 0.1499, True),
        (0.15, 0.15, False),
        (0.15, float("nan"), False),
        (0.4, 0.3, True),
        (0.05, 0.1, False),
    ):
        for task in (Copy(2, threshold=threshold), RepeatCopy(2, threshold=threshold)):
            assert task.observe(loss) == advances
            assert (task.vectors, task.repeats) == (1 + advances, 1)
    assert Copy(2).threshold == RepeatCopy(2).threshold == 0.15, "that of the paper"
