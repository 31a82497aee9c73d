"""Anybody's data become spans that lose no step, know their future, and mark where sequences begin and end."""

from collections import namedtuple
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import squared_error
from tolerances import assert_identical
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, TensorDataset

from sgrnn.estimators import SyntheticGradients
from sgrnn.estimators.online import RTRL, BPLambda
from sgrnn.sequences import spans
from sgrnn.span import Span
from sgrnn.state import leaves

STEPS, ROWS = 11, 3
Pair = namedtuple("Pair", ["first", "second"])


def test_batches_may_be_written_where_the_last_one_lay() -> None:
    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        buffer = torch.empty(10, ROWS, dtype=torch.long)
        for start in range(0, 40, 10):
            buffer[:] = torch.arange(start, start + 10).unsqueeze(1)
            yield buffer, buffer

    seen = [span.inputs[:, 0].clone() for span in spans(batches(), steps=5, lookahead=2, stateful=True)]
    assert torch.cat(seen).tolist() == list(range(40))


def numbered(steps: int = STEPS, rows: int = ROWS, start: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs and targets, (time, batch), every number another; the targets are below zero."""
    numbers = torch.arange(start, start + steps * rows).view(steps, rows)
    return numbers, -numbers - 1


def content(span: Span | None) -> Any:
    return span and [span.inputs, span.targets, span.marked_first(), span.marked_real(), span.is_last]


def assert_same_spans(found: Iterable[Span], expected: Iterable[Span]) -> None:
    for one, other in zip(list(found), list(expected), strict=True):
        for part, wanted in ((one, other), (one.future, other.future)):
            assert (part is None) == (wanted is None)
            if part is not None and wanted is not None:
                assert_identical([part.inputs, part.targets], [wanted.inputs, wanted.targets])
                assert_identical(
                    [part.marked_first(), part.marked_real()], [wanted.marked_first(), wanted.marked_real()]
                )
        assert_identical(one.is_last, other.is_last)


def joined(parts: list[Span]) -> tuple[Tensor, Tensor]:
    return torch.cat([part.inputs for part in parts]), torch.cat([part.targets for part in parts])


@pytest.mark.parametrize(("steps", "lookahead"), [(4, 0), (4, 3), (1, 2), (5, 6), (11, 2), (20, 1)])
def test_every_step_is_in_one_span_and_known_ahead(steps: int, lookahead: int) -> None:
    inputs, targets = numbered()
    found = list(spans(inputs, targets, steps=steps, lookahead=lookahead))
    assert_identical(joined(found), (inputs, targets))
    assert [part.steps for part in found[:-1]] == [steps] * (len(found) - 1)
    stop = 0
    for part in found:
        stop += part.steps
        ahead = inputs[stop : stop + lookahead]
        assert_identical(None if part.future is None else part.future.inputs, ahead if len(ahead) else None)
        begins = torch.zeros(part.steps, ROWS, dtype=torch.bool)
        begins[0] = part is found[0]
        assert_identical(part.marked_first(), begins)
        assert_identical(part.is_last, torch.ones(ROWS).bool() if part is found[-1] else None)
        assert part.mask is None


def test_the_batch_may_come_first_in_arrays_nests_and_marks() -> None:
    inputs, targets = numbered()
    begins = torch.zeros(STEPS, ROWS, dtype=torch.bool)
    begins[5, 1] = begins[8, 2] = True
    lengths = [11, 7, 9]
    expected = list(spans(inputs, targets, steps=4, lookahead=2, is_first=begins, lengths=lengths))
    assert expected[1].marked_first().nonzero().tolist() == [[1, 1]]
    turned = spans(
        inputs.T.numpy(), targets.T, steps=4, lookahead=2, is_first=begins.T.numpy(), lengths=np.array(lengths),
        batch_first=True,
    )  # fmt: skip
    assert_same_spans(turned, expected)
    nest = {"x": Pair(inputs.T, [inputs.T.unsqueeze(2) * 1.0]), "y": inputs.T}
    (whole,) = spans(nest, (targets.T, targets.T.numpy()), steps=STEPS, batch_first=True, lengths=lengths)
    assert isinstance(whole.inputs["x"], Pair)
    (one,) = spans(inputs, targets, steps=STEPS, lengths=lengths)
    assert_identical(whole.inputs["y"], one.inputs)
    assert_identical(whole.inputs["x"].second[0], one.inputs.unsqueeze(2) * 1.0)
    assert_identical(whole.targets, (one.targets, one.targets))
    assert_identical(whole.mask, one.mask)


def test_no_copy_is_made_and_none_may_be_needed(tmp_path: Path) -> None:
    array = np.arange(24.0).reshape(8, 3)
    np.save(tmp_path / "array.npy", array)
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")  # not writable
    (whole,) = spans(mapped, array, steps=8, lengths=[8, 8, 8])
    assert_identical(whole.inputs, torch.from_numpy(array))
    assert whole.inputs.data_ptr() == mapped.ctypes.data


def test_padding_is_marked_blank_and_cut_off_beyond_the_longest_row() -> None:
    inputs, targets = torch.full((6, 2, 2), torch.nan), torch.full((6, 2), -100)
    inputs[:4, 0], inputs[:2, 1], targets[:4, 0], targets[:2, 1] = 1, 2, 1, 2
    found = list(spans(inputs, targets, steps=3, lookahead=2, lengths=[4, 2]))
    assert [part.marked_real().tolist() for part in found] == [
        [[True, True], [True, True], [True, False]], [[True, False]]
    ]  # fmt: skip
    assert [part.size for part in found] == [5, 1]
    assert all(bool(tensor.isfinite().all()) and bool((tensor >= 0).all()) for part in found for tensor in leaves(
        [part.inputs, part.targets]))  # fmt: skip
    assert found[0].future is not None
    assert_identical(found[0].future.mask, found[1].mask)
    assert_identical(found[1].is_last, torch.tensor([True, True]))
    (short,) = spans(inputs, targets, steps=6, lengths=torch.tensor([2, 2]))
    assert (short.steps, short.mask, short.future) == (2, None, None)
    assert_identical(short.is_last, torch.tensor([True, True]))


def test_lengths_may_be_of_an_unsigned_type() -> None:
    (span,) = spans(torch.zeros(6, 2), torch.zeros(6, 2), steps=6, lengths=np.array([3, 4], dtype=np.uint16))
    assert (span.steps, span.size) == (4, 7)


def batches(sizes: list[int], lengths: Any = None) -> Iterator[Any]:
    start = 0
    for place, steps in enumerate(sizes):
        yield (*numbered(steps, start=start), *(() if lengths is None else [lengths[place]]))
        start += steps * ROWS


@pytest.mark.parametrize("sizes", [[11], [4, 4, 3], [1] * 11, [2, 9], [9, 1, 1], [5, 6]])
@pytest.mark.parametrize(("steps", "lookahead"), [(4, 0), (3, 2), (2, 5)])
def test_batches_that_go_on_are_one_sequence_however_it_is_cut(sizes: list[int], steps: int, lookahead: int) -> None:
    found = spans(batches(sizes), steps=steps, lookahead=lookahead, stateful=True)
    assert_same_spans(found, spans(*numbered(), steps=steps, lookahead=lookahead))


def test_spans_of_a_stream_come_as_soon_as_their_future_is_known() -> None:
    read: list[int] = []

    def counted() -> Iterator[Any]:
        for place, batch in enumerate(batches([2] * 5)):
            read.append(place)
            yield batch

    stream = spans(counted(), steps=2, lookahead=3, stateful=True)
    assert_identical(next(stream).inputs, numbered()[0][:2])
    assert read == [0, 1, 2]


def test_rows_that_ended_in_padding_begin_anew_where_batches_go_on() -> None:
    lengths = [[4, 2, 4], [3, 4, 3]]
    found = Span.join(list(spans(batches([4, 4], lengths), steps=3, lookahead=1, stateful=True)))
    begins = torch.zeros(8, ROWS, dtype=torch.bool)
    begins[0], begins[4, 1] = True, True
    assert_identical(found.marked_first(), begins)
    real = torch.ones(8, ROWS, dtype=torch.bool)
    real[2:4, 1] = real[7, 0] = real[7, 2] = False
    assert_identical(found.mask, real)


def test_the_longest_rows_of_a_batch_may_have_ended_in_padding_too() -> None:
    found = Span.join(list(spans(batches([4, 4], [[3, 3, 2], [4, 4, 4]]), steps=2, lookahead=1, stateful=True)))
    assert [step for step, marks in enumerate(found.marked_first()) if bool(marks.all())] == [0, 3]
    assert found.is_last is not None
    assert bool(found.is_last.all())


def test_batches_of_a_loader_begin_anew_each_by_itself() -> None:
    inputs, targets = numbered(6, 5)
    data = TensorDataset(inputs.T, targets.T, torch.tensor([6, 3, 5, 2, 4]))
    found = list(spans(DataLoader(data, batch_size=2), steps=4, lookahead=1, batch_first=True))
    expected = []
    for rows, lengths in ((slice(0, 2), [6, 3]), (slice(2, 4), [5, 2]), (slice(4, 5), [4])):
        expected += spans(inputs[:, rows], targets[:, rows], steps=4, lookahead=1, lengths=lengths)
    assert [(part.steps, part.batch_size) for part in found] == [(4, 2), (2, 2), (4, 2), (1, 2), (4, 1)]
    assert_same_spans(found, expected)


@pytest.mark.parametrize("name", ["synthetic", "RTRL", "BP(lambda)"])
def test_batches_of_other_rows_are_trained_with_the_state_that_is_carried(name: str) -> None:
    """What an estimator carries is of the rows that were; all begin anew, so that nothing of it is needed."""
    inputs = torch.randn(5, 6, 2, dtype=torch.float64)
    loader = DataLoader(TensorDataset(inputs, inputs[..., :1].expand(5, 6, 3)), batch_size=3)
    results = []
    for carried in (True, False):
        torch.manual_seed(0)
        core = nn.GRU(2, 3).double()
        estimator = {
            "synthetic": lambda core=core: SyntheticGradients(core, squared_error, window=2),
            "RTRL": lambda core=core: RTRL(core, squared_error),
            "BP(lambda)": lambda core=core: BPLambda(core, squared_error, learning_rate=0.1),
        }[name]()
        state, losses = None, []
        for span in spans(loader, steps=4, lookahead=estimator.lookahead, batch_first=True):
            step = estimator.backward(span, state)
            state = step.state
            losses.append(step.loss)
            if span.is_last is not None and not carried:
                state = None
        results.append((losses, state, [parameter.grad for parameter in core.parameters()]))
    assert_identical(results[0][:1], results[1][:1])
    assert_identical(results[0][2], results[1][2])


def wrong(*shapes: tuple[int, ...]) -> list[tuple[Tensor, ...]]:
    return [tuple(torch.zeros(shape) for shape in shapes)]


def nested() -> Tensor:
    return torch.nested.nested_tensor([torch.zeros(3, 1), torch.zeros(2, 1)], layout=torch.jagged)


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        (numbered(), {"steps": 0}, ValueError, "steps must be at least 1 step, got 0"),
        (numbered(), {"lookahead": -1}, ValueError, "lookahead must be at least 0 steps, got -1"),
        (numbered()[:1], {}, TypeError, "targets are missing: give them, or an iterable of batches, each .*"),
        ((None,), {}, TypeError, "targets are missing: .*"),
        ((torch.zeros(5), torch.zeros(5)), {}, ValueError, r"inputs must be \(time, batch, ...\), got \(5,\)"),
        ((*numbered()[:1], np.zeros(3)), {"batch_first": True}, ValueError, r"targets must be \(batch, .* \(3,\)"),
        ((numbered()[0], numbered(4)[1]), {}, ValueError, r"targets must begin with \(11, 3\) .* got \(4, 3\)"),
        (({"a": ["b"]}, numbered()[1]), {}, TypeError, r"inputs\['a'\]\[0\] must be a tensor or an array .* a str: .*"),
        (numbered(), {"stateful": True}, ValueError, "stateful is for an iterable of batches; tensors are .*"),
        (numbered(), {"lengths": [3, 2]}, ValueError, r"lengths must be one whole number .* 3 rows, got \(2,\) in .*"),
        (numbered(), {"lengths": [3, 2, 1.5]}, ValueError, r"lengths must be one whole .* got \(3,\) in torch.float32"),
        (numbered(), {"lengths": [3, 0, 1]}, ValueError, r"lengths must be between 1 and 11, .* got \[3, 0, 1\]"),
        (numbered(), {"lengths": [3, 12, 1]}, ValueError, r"lengths must be between 1 and 11, .* got \[3, 12, 1\]"),
        (numbered(), {"is_first": np.zeros((11, 2))}, ValueError, r"is_first must begin with \(11, 3\) .* \(11, 2\)"),
        (numbered(), {"is_first": torch.zeros(11, 3)}, ValueError, "is_first must be bool, got torch.float32"),
        ((batches([2]),), {"lengths": [1, 1, 1]}, ValueError, "is_first and lengths go with targets; an iterable .*"),
        (([torch.zeros(3, 2)],), {}, TypeError, r"batch 1: a batch must be \(inputs, targets\) or .*, got a Tensor"),
        (([*batches([2]), {"x": 1}],), {}, TypeError, "batch 2: a batch must be .*, got a dict"),
        (([[[0.0]], [[1.0]]], torch.zeros(2, 1)), {}, TypeError, r"inputs\[0\]\[0\] must be .* a list of num.*"),
        ((torch.zeros(2, 1, device="meta"), torch.zeros(2, 1)), {}, ValueError, "inputs lies on the device meta, .*"),
        ((pack_sequence([torch.zeros(2, 1)]), torch.zeros(2, 1)), {}, TypeError, "inputs must not .* lengths="),
        ((np.ma.masked_less(np.eye(3), 1), torch.zeros(3, 3)), {}, TypeError, r"inputs must not be masked, .*"),
        ((torch.zeros(2, 1).to_sparse(), torch.zeros(2, 1)), {}, TypeError, "inputs must not be sparse: .*"),
        ((nested(), torch.zeros(2, 3)), {"batch_first": True}, TypeError, "inputs must not be nested: .* lengths= .*"),
        (numbered(), {"lengths": {"a": 1}}, TypeError, "lengths must be one whole number .* 3 rows, got a dict: .*"),
        (([(*numbered(), ["a", "b", "c"])],), {}, TypeError, "batch 1: lengths must be .* got a list: .*"),
        (numbered(), {"lengths": [True] * 3}, ValueError, r"lengths must be .* got \(3,\) in torch.bool"),
        (numbered(), {"steps": 2.5}, ValueError, "steps must be a whole number, got 2.5"),
        (([(1, 2, 3, 4)],), {}, TypeError, "batch 1: a batch must be .*, got a tuple of 4"),
        ((wrong((4, 2), (3, 2)),), {}, ValueError, r"batch 1: targets must begin with \(4, 2\) .* \(3, 2\)"),
        ((wrong((4, 2), (4, 2), (3,)),), {}, ValueError, "batch 1: lengths must be one whole number .*"),
        (([],), {}, ValueError, "there are no batches: an iterator that was gone through before, or a DataLoader .*"),
        (
            ([*wrong((4, 3), (4, 3)), *wrong((4, 2), (4, 2))],), {"stateful": True}, ValueError,
            r"batches that go on in one another must have as many rows, 3, got 2: drop the last one \(drop_last.*",
        ),
        (
            ([*wrong((4, 3, 1), (4, 3)), *wrong((4, 3, 2), (4, 3))],), {"stateful": True}, ValueError,
            r"later inputs must be of the kind of inputs, steps of \(3, 1\) in torch.float32, got \(3, 2\) in .*",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(arguments: Any, options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^{message}$"):
        list(spans(*arguments, **{"steps": 3} | options))


def test_a_future_that_is_missing_is_asked_of_the_spans() -> None:
    core = nn.GRU(2, 3).double()
    estimator = SyntheticGradients(core, squared_error, window=2, lookahead=3)
    inputs, targets = torch.randn(6, 2, 2).double(), torch.randn(6, 2, 3).double()
    with pytest.raises(
        ValueError,
        match=r"looks 3 steps ahead, .* sgrnn.spans\(..., lookahead=estimator.lookahead\) gives them, or is_l",
    ):
        estimator.backward(next(spans(inputs, targets, steps=4)))
    for span in spans(inputs, targets, steps=4, lookahead=estimator.lookahead):
        estimator.backward(span)
