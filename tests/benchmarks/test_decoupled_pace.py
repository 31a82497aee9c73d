"""What `benchmarks/decoupled_pace.py` counts, of one process."""

from pathlib import Path

import decoupled_networks
import pytest
from decoupled_pace import measure, show
from readings import cells


def test_of_one_process_all_layers_have_its_pace(
    stand_ins: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SGRNN_DATA", str(stand_ins))
    decoupled_networks.digits.cache_clear()
    images, labels = decoupled_networks.digits("train")
    monkeypatch.setattr(decoupled_networks, "digits", lambda split: (images.repeat(2, 1), labels.repeat(2)))
    for way in ("locked", "unlocked"):
        record = measure(way, processes=0, layers=3, updates=3)
        assert (record["updates"], record["dropped"]) == ([3, 3, 3], [0, 0, 0])
        assert record["all"] == pytest.approx(3 * record["value"])
    show([record | {"value": 2.0, "all": 6.0, "error": 5.0}])
    assert cells(capsys.readouterr().out)["unlocked"] == ["none", "2.0", "6.0", "3/3/3", "0/0/0", "5.00"]
