"""What `benchmarks/digits.py` measures, and that each condition trains what it says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from digits import CONDITIONS, Condition, Digits, Pair, Stream, best_rates, samples_to, to_record, train
from torch import Tensor

SMALL = Condition("synthetic", 1e-3, 0, digits=96, period=4, ticks=3, batch_size=2, evaluations=2)


@pytest.fixture(autouse=True)
def _mnist(mnist_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGRNN_DATA", str(mnist_folder))


def make_stream() -> Stream:
    return Digits("valid", SMALL, 2, seed=1).draw()


def test_counts_are_those_of_the_digits_in_the_stream() -> None:
    digits = Digits("valid", SMALL, 5, seed=3)
    stream = digits.draw()
    known = {image.numpy().tobytes(): int(label) for image, label in zip(digits.images, digits.labels, strict=True)}
    pixels = (stream.inputs[..., :-1] * 255).round().byte().numpy()
    labels = torch.tensor([[known[image.tobytes()] for image in step] for step in pixels])
    assert stream.inputs.shape == (12, 5, 785)
    assert stream.inputs[:, 0, -1].tolist() == [1, 0, 0, 0] * 3
    for step in range(12):
        since = slice(step - step % 4, step + 1)
        assert torch.equal(stream.odd[step], (labels[since] % 2).sum(dim=0))
        assert torch.equal(stream.threes[step], (labels[since] == 3).sum(dim=0))
    assert torch.equal(stream.total, torch.stack([(labels[:stop] == 3).sum(dim=0) for stop in (4, 8, 12)]))


@pytest.mark.parametrize("method", CONDITIONS)
def test_every_condition_trains_what_it_says_as_often_as_it_says(method: str) -> None:
    pair = Pair(replace(SMALL, method=method))
    before = {name: tensor.clone() for name, tensor in pair.fast.state_dict().items()}
    interface = [tensor.clone() for tensor in pair.interface.parameters()]
    for _ in range(3):
        pair.learn(make_stream())
    assert pair.updates == 3 * {"full": 1, "waiting": 1, "every step": 12}.get(method, 3)
    sends = pair.fast.send.weight
    assert torch.equal(sends, before["send.weight"]) is (method == "none"), (
        "what it sends is trained but in the control"
    )
    changed = not all(torch.equal(*both) for both in zip(interface, pair.interface.parameters(), strict=True))
    assert changed is (method not in ("full", "waiting", "none"))


def gradient_of_count(method: str) -> Tensor:
    pair = Pair(replace(SMALL, method=method))
    pair.optimizers.clear()
    for module in (pair.fast, pair.slow, pair.interface):
        module.double()
    pair.state = pair.fast.initial_state(2)
    stream = make_stream()
    pair.learn(stream._replace(inputs=stream.inputs.double()))
    gradient = pair.fast.see.weight.grad
    assert gradient is not None
    return gradient


def test_waiting_differs_from_full_by_the_cut_and_an_update_a_message_adds_up_to_the_same() -> None:
    full, waiting, none = (gradient_of_count(method) for method in ("full", "waiting", "none"))
    assert not torch.allclose(full, waiting)
    untold = gradient_of_count("synthetic")  # an interface that has not learned anything
    torch.testing.assert_close(untold, none)


def test_a_run_has_a_curve_over_samples_and_updates() -> None:
    result = train(SMALL)
    assert [row[:2] for row in result["curve"]] == [[48, 6], [96, 12]]
    record = to_record(result)
    assert record["value"] == result["curve"][-1][2]
    assert best_rates([record, {**record, "rate": 1.0, "value": 2.0}])[0]["rate"] == 1.0


@pytest.mark.parametrize(("accuracy", "expected"), [(0.5, 5), (0.61, 6), (0.65, None)])
def test_an_accuracy_is_reached_when_five_evaluations_have_it_on_the_average(
    accuracy: float, expected: float | None
) -> None:
    accuracies = [0.0, 0.2, 0.8, 0.9, 0.6, 0.6, 0.0]
    assert samples_to([[place, 0, found, 0] for place, found in enumerate(accuracies, 1)], accuracy) == expected


def test_the_error_told_is_the_gradient_of_a_ticks_loss_at_the_output() -> None:
    pair = Pair(SMALL)
    outputs = torch.randn(3, pair.slow.count.in_features, requires_grad=True)
    total = torch.tensor([0, 5, 12])
    F.cross_entropy(pair.slow.count(outputs), total, reduction="sum").backward()
    torch.testing.assert_close(pair.slow.error(pair.slow.count(outputs), total), outputs.grad)


def test_a_tick_goes_on_from_the_last_as_the_whole_stream_does() -> None:
    pair, stream = Pair(SMALL), make_stream()
    messages = torch.randn(3, 2, pair.fast.send.out_features)
    pair.remembered = pair.slow.initial_state(2)
    ticks = zip(messages, stream.threes[3::4], stream.total, strict=True)
    known = [pair._tick(message, threes, total) for message, threes, total in ticks]
    _, expected = pair.slow(messages, pair.slow.initial_state(2))
    torch.testing.assert_close(pair.remembered, expected)
    assert known[0] is not None
    assert known[0].targets.shape == (1, 2, 5 + 1 + pair.slow.count.in_features)
