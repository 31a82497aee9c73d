"""What `benchmarks/digits.py` measures, and that each condition trains what it says."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from digits import METHODS, draw, record_of, show, train
from frame import Condition, Record
from readings import cells, dots, lines
from shown import BLACK, GREEN
from torch import Tensor, nn
from two_networks import AHEAD, ERROR_SCALE, Digits, Pair, Setting, Stream

import sgrnn
from sgrnn.synthesizers import GradientPredictor

SMALL = Setting("synthetic", 1e-3, 0, digits=96, period=4, ticks=3, batch_size=2, evaluations=2)


@pytest.fixture(autouse=True)
def _mnist(stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGRNN_DATA", str(stand_ins))


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


def test_every_method_trains_what_it_says_as_often_as_it_says() -> None:
    for method in METHODS:
        check(method)


def check(method: str) -> None:
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


def in_doubles(method: str, stream: Stream) -> tuple[Pair, Stream]:
    """A pair that learns nothing, so that gradients gather in its parameters."""
    pair = Pair(replace(SMALL, method=method))
    pair.optimizers.clear()
    for module in (pair.fast, pair.slow, pair.interface, pair.estimator):
        module.double()
    pair.state = pair.fast.initial_state(2)
    return pair, stream._replace(inputs=stream.inputs.double())


def gradient_of_seeing(method: str, stream: Stream) -> Tensor:
    pair, stream = in_doubles(method, stream)
    pair.learn(stream)
    assert pair.fast.see.weight.grad is not None
    return pair.fast.see.weight.grad


class Exact(nn.Module):
    """Predicts what will arrive, in the order of the messages."""

    def __init__(self, gradients: Tensor) -> None:
        super().__init__()
        self.gradients = iter(gradients)
        self.anything = nn.Parameter(torch.zeros(()))

    def forward(self, message: Tensor, known: object) -> Tensor:
        return next(self.gradients)[:, None] + self.anything


def with_exact_replies(method: str, stream: Stream) -> tuple[Pair, Stream, Tensor]:
    """A pair whose interface knows what will arrive at the messages, and that."""
    pair, doubles = in_doubles(method, stream)
    with torch.no_grad():
        outputs, _ = pair.fast(doubles.inputs, pair.state)
    messages = pair.fast.send(outputs[3::4]).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(pair.slow.loss(messages, doubles.total), messages)
    pair.interface.predictor = GradientPredictor(Exact(gradients), shrinkage=False).double()
    return pair, doubles, gradients


def test_with_an_update_a_digit_a_message_counts_as_in_one_graph_and_the_next_digits_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair, doubles, gradients = with_exact_replies("every step", make_stream())
    pair.learn(doubles)
    found, pair.fast.see.weight.grad, state = pair.fast.see.weight.grad, None, pair.fast.initial_state(2)
    for step in range(12):
        outputs, state = pair.fast(doubles.inputs[step : step + 1], tuple(tensor.detach() for tensor in state))
        loss = pair.fast.loss(outputs, doubles.odd[step : step + 1]).mean() / 12
        if step % 4 == 3:
            loss = loss + (pair.fast.send(outputs[-1]) * gradients[step // 4]).sum()
        loss.backward()
    assert found is not None
    assert pair.fast.see.weight.grad is not None
    torch.testing.assert_close(found, 12 * pair.fast.see.weight.grad)  # a mean over 12 windows, and 12 losses of one
    pair, stream = Pair(replace(SMALL, method="every step")), make_stream()
    spans: list[sgrnn.Span] = []
    learn = pair.estimator.backward
    monkeypatch.setattr(pair.estimator, "backward", lambda *given: spans.append(given[0]) or learn(*given))
    pair.learn(stream)
    for step, span in enumerate(spans):
        assert torch.equal(span.inputs[0], stream.inputs[step])
        if span.future is None:
            assert step == 11
        else:
            assert torch.equal(span.future.inputs, stream.inputs[step + 1 : step + 1 + AHEAD])
            assert torch.equal(span.future.targets[..., 0], stream.odd[step + 1 : step + 1 + AHEAD])


def test_rates_fall_at_the_end_and_the_slow_networks_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    with monkeypatch.context() as watched:
        watched.setattr(Pair, "learn", lambda pair, stream, share: shares.append(share))
        train(**asdict(replace(SMALL, digits=240, falling=0.5)))
    assert shares == pytest.approx([1.0] * 6 + [0.8, 0.6, 0.4, 0.2])
    pair = Pair(SMALL)
    pair.learn(make_stream(), 0.5)
    rates = {module: optimizer.param_groups[0]["lr"] for module, optimizer in pair.optimizers.items()}
    assert rates == {pair.fast: 0.5e-3, pair.interface: 0.5e-3, pair.slow: SMALL.slow_rate / 2}
    assert SMALL.slow_rate != 1e-3


def test_exact_replies_add_up_to_the_gradient_of_waiting() -> None:
    stream = make_stream()
    full, waiting, none = (gradient_of_seeing(method, stream) for method in ("full", "waiting", "none"))
    assert not torch.allclose(full, waiting)
    untold = gradient_of_seeing("synthetic", stream)  # an interface that has not learned anything
    torch.testing.assert_close(untold, none)
    assert not torch.allclose(none, 3 * waiting)
    pair, doubles, _ = with_exact_replies("synthetic", stream)
    pair.learn(doubles)
    torch.testing.assert_close(pair.fast.see.weight.grad, 3 * waiting)  # a mean over 3 windows, and 3 losses of one


def test_a_run_has_a_curve_and_at_the_end_ten_streams_of_either_split_are_scored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scored: list[int] = []
    monkeypatch.setattr(Pair, "score", lambda pair, stream: scored.append(stream.odd.shape[1]) or (len(scored), 0.5))
    result = train(**asdict(SMALL))
    assert [row[:2] for row in result["curve"]] == [[48, 6], [96, 12]]
    assert scored == [400] * 22
    record = record_of(Condition(asdict(SMALL)), result)
    assert (record["value"], record["fast_accuracy"], record["valid_accuracy"]) == (7.5, 0.5, 17.5)
    assert record["method"] == "synthetic"
    assert record["interface_target_r2"] == result["interface"]["target_r2"] != 0


def test_table_and_figure_show_the_settings_that_do_best_on_the_validation_images(
    capsys: pytest.CaptureFixture[str],
) -> None:
    records: list[Record] = []
    for method, digits, rate, valid, values in (
        ("full", 10.0, 1.0, 0.1, (0.9, 0.9)), ("full", 10.0, 2.0, 0.3, (0.5, 0.7)),
        ("synthetic", 5.0, 1.0, 0.0, (0.8,)),
    ):  # fmt: skip
        for value in values:
            place = {"method": method, "digits": digits, "rate": rate, "clip": 1.0, "valid_accuracy": valid}
            curve = [[5.0, 1, value / 2], [digits, 2, value]]
            records.append({"metric": "m", "value": value, "fast_accuracy": value / 4, "curve": curve, **place})
            records[-1]["interface_target_r2"] = 0.25
    show(records)
    printed = cells(capsys.readouterr().out)
    assert printed["full"] == ["1e+01", "2", "1", "0.600 (0.500 to 0.700)", "0.150 (0.125 to 0.175)", "0.25"]
    assert printed["synthetic"] == ["5e+00", "1", "1", "0.800", "0.200", "0.25"]
    by_digits, by_updates = draw(records).axes
    assert lines(by_digits)["full, 1e+01"] == ([5, 10], [pytest.approx(0.3), pytest.approx(0.6)], BLACK)
    assert lines(by_updates)["synthetic, 5e+00"] == ([1, 2], [0.4, 0.8], GREEN)
    assert {(10, 0.5), (10, 0.7)} <= dots(by_digits)


def test_known_are_what_was_remembered_before_the_tick_and_its_output_gradient() -> None:
    pair, stream = Pair(SMALL), make_stream()
    messages = torch.randn(3, 2, pair.fast.send.out_features)
    before = pair.remembered = pair.slow.initial_state(2)
    for message, threes, total in zip(messages, stream.threes[3::4], stream.total, strict=True):
        known = pair._tick(message, threes, total)
        assert known is not None
        assert known.features is not None
        torch.testing.assert_close(known.features[..., :128], torch.cat(before, dim=-1))
        scores, before = pair.slow(message[None], before)
        torch.testing.assert_close(known.features[0, :, 128 + 6 :], ERROR_SCALE * pair.slow.error(scores[0], total))
        assert known.features[0, :, 128 : 128 + 5].argmax(dim=-1).equal(threes)
    _, expected = pair.slow(messages, pair.slow.initial_state(2))
    torch.testing.assert_close(pair.remembered, expected)
    outputs = torch.randn(3, pair.slow.count.in_features, requires_grad=True)
    total = torch.tensor([0, 5, 12])
    F.cross_entropy(pair.slow.count(outputs), total, reduction="sum").backward()
    torch.testing.assert_close(pair.slow.error(pair.slow.count(outputs), total), outputs.grad)
