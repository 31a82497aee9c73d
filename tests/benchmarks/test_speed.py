"""What the timing of training steps rests on."""

import os
import signal

import contenders
import pytest
import speed
import torch
from contenders import CONTENDERS, Setting
from speed import measure, products, shape

from sgrnn import BPTT, Mixed, SyntheticGradients, TruncatedBPTT

TINY = Setting(2, 8, 30, 2, 6, 4)


def test_the_products_are_six_operations_for_each_weight_and_token() -> None:
    weights = 2 * (4 * 8 * 8 + 4 * 8 * 8) + 30 * 8
    operations = sum(2 * times * rows * inner * columns for times, rows, inner, columns, _ in products(TINY))
    assert operations == 6 * weights * TINY.tokens


def test_contenders_are_timed_beside_each_other() -> None:
    records = measure(TINY, ["plain", "truncated", "synthetic"], rounds=2, threads=1)
    found = {(record["metric"], record.get("contender")): record["value"] for record in records}
    for name in ("plain", "truncated", "synthetic"):
        assert found["tokens per second", name] > 0
        assert found["peak memory, MiB", name] >= 0
        assert 0 < found["share of peak", name] < 1
        milliseconds = found["milliseconds per update", name]
        assert found["tokens per second", name] == pytest.approx(1e3 * TINY.tokens / milliseconds)
    assert found["time ratio synthetic / truncated", None] > 0
    assert {(record["setting"], record["window"], record["threads"]) for record in records} == {(TINY.name, 2, 1)}


def test_a_contender_that_does_not_work_is_reported() -> None:
    impossible = Setting(2, 8, 30, 0, 6, 4)
    (record,) = measure(impossible, ["truncated"], rounds=1, threads=1)
    assert record["metric"] == "failure"
    assert record["value"] == "ValueError: window must be at least 1 step, got 0"


def test_a_contender_that_is_killed_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "serve", die)
    (record,) = measure(TINY, ["truncated"], rounds=2, threads=1)
    assert record["value"] == "its process was killed"


def die(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_memory_is_that_of_the_contender_whatever_was_held_before() -> None:
    held = bytearray(b"x") * (512 << 20)
    del held
    larger = Setting(1, 8, 400_000, 2, 6, 4)
    records = measure(larger, ["plain"], rounds=2, threads=1)
    (found,) = (record["value"] for record in records if record["metric"] == "peak memory, MiB")
    layers = 2 * 400_000 * 8 * 4 / speed.MEBIBYTE
    assert found > 2 * layers, "parameters and gradients"


def test_shapes_are_layers_and_units() -> None:
    assert shape("3x1150") == (3, 1150)


@pytest.mark.parametrize("name", [name for name in CONTENDERS if name != "plain, compiled"])
def test_every_contender_trains_all_that_it_has(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizers: list[torch.optim.Optimizer] = []
    watched = torch.optim.Optimizer.__init__
    monkeypatch.setattr(
        torch.optim.Optimizer, "__init__", lambda self, *given: optimizers.append(self) or watched(self, *given)
    )
    update = CONTENDERS[name](TINY)
    assert len(optimizers) == (2 if name.startswith(("synthetic", "mixed")) else 1)
    parameters = [parameter for optimizer in optimizers for parameter in optimizer.param_groups[0]["params"]]
    before = [parameter.clone() for parameter in parameters]
    for _ in range(3):
        update()
    learned = [not torch.equal(*pair) for pair in zip(before, parameters, strict=True)]
    trained = learned if name != "mixed while real" else learned[: len(optimizers[0].param_groups[0]["params"])]
    assert all(trained), "a synthesizer while real gradients are used need not be"


@pytest.mark.parametrize(
    ("name", "kind", "ahead"),
    [
        ("full", BPTT, 0), ("truncated", TruncatedBPTT, 0), ("synthetic", SyntheticGradients, 8), 
        ("synthetic, light", SyntheticGradients, 2),
        ("mixed while real", Mixed, 8),
    ],
)  # fmt: skip
def test_ours_have_the_policies_that_they_are_named_for(
    name: str, kind: type, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    make = contenders.make_policy
    monkeypatch.setattr(
        contenders, "make_policy", lambda *given, **options: made.append(make(*given, **options)) or made[0]
    )
    CONTENDERS[name](TINY)
    assert type(made[0]) is kind
    assert made[0].lookahead == ahead
    assert getattr(made[0], "window", TINY.window) == TINY.window
