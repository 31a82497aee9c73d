"""What the timing of threads rests on."""

import os
import signal

import pytest
from contenders import CONTENDERS, Setting
from threads import Way, busy, measure, products, waiting
from torch import nn

import sgrnn.training.threads

TINY = Setting(2, 8, 30, 2, 6, 4)


def test_products_are_those_that_the_rule_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[nn.Module] = []
    make = sgrnn.LanguageModel.__init__
    monkeypatch.setattr(
        sgrnn.LanguageModel, "__init__", lambda self, *given, **options: models.append(self) or make(self, *given)
    )
    CONTENDERS["truncated"](TINY)
    assert products(TINY) == TINY.batch * sgrnn.training.threads.products(models[0])


def test_every_way_is_timed_beside_every_load() -> None:
    ways = [Way(1, "spin"), Way(2, "sleep")]
    records = measure(TINY, "truncated", ways, [0, 1], rounds=1)
    assert len(records) == 2 * 2 * 2
    assert {(record["threads"], record["waiting"], record["busy"]) for record in records} == {
        (*way, number) for way in ways for number in (0, 1)
    }
    assert all(record["value"] > 0 and record["hidden"] == 8 for record in records)


def test_processes_beside_end_with_the_block() -> None:
    with busy(2) as processes:
        assert [process.poll() for process in processes] == [None, None]
    assert [process.poll() for process in processes] == [-signal.SIGKILL] * 2


def test_what_is_said_of_waiting_is_as_before_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    with waiting("spin"):
        assert "OMP_WAIT_POLICY" not in os.environ
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    with waiting("sleep"):
        assert os.environ["OMP_WAIT_POLICY"] == "passive"
    assert "OMP_WAIT_POLICY" not in os.environ
