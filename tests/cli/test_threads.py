"""Every command that computes with a run's model does so with the threads that its recipe says."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from .commands import Commands


@contextmanager
def watched(patch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of threads that torch is told within."""
    told: list[int] = []
    with patch.context() as within:
        within.setattr(torch, "set_num_threads", told.append)
        yield told


def test_the_recipe_says_with_how_many_threads(sgrnn: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    (sgrnn.folder / "space.yaml").write_text("optimizer.learning_rate: [0.01]\n")
    shorter = ("--training.threads=3", "--training.max_updates=3")
    for command in (
        ("train", "tiny.yaml", "--run", "mine", *shorter),
        ("resume", "mine"),
        ("evaluate", "mine"),
        ("generate", "mine"),
        ("diagnose", "mine", "--spans", "4", "--horizon", "2"),
        ("sweep", "tiny.yaml", "--space", "space.yaml", "--trials", "1", *shorter),
    ):
        with watched(monkeypatch) as told:
            sgrnn.well(*command)
        assert told == [3, torch.get_num_threads()], command
    message = sgrnn.refused("train", "tiny.yaml", "--training.threads=0")
    assert message == "command line: training.threads must be greater than 0, got 0"
