"""What `benchmarks/decoupled.py` trains, and what it shows of the records."""

from dataclasses import asdict, replace
from pathlib import Path

import decoupled_networks
import pytest
import torch
from decoupled import METHODS, PUBLISHED, UNWAITING, draw, setting_of, show, train
from decoupled_networks import Setting, build, error_of
from frame import Record
from readings import cells, dots, lines
from shown import BLACK, GREEN

SMALL = Setting("cdni", 3, 1.0, 0, 8, 1e-3, 1e-3, 0, hidden_size=8, batch_size=20)


@pytest.fixture(autouse=True)
def _mnist(stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGRNN_DATA", str(stand_ins))
    decoupled_networks.digits.cache_clear()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_the_layers_it_says(method: str) -> None:
    setting = replace(SMALL, method=method, synthesizer_size=4 if method == "dni" else 0)
    chain = build(setting)
    before = [next(module.parameters()).detach().clone() for module in chain.network]
    decoupled_networks.train(chain, setting, (), print)
    moved = [not torch.equal(next(m.parameters()), old) for m, old in zip(chain.network, before, strict=True)]
    assert moved == [method != "none"] * 2 + [True]
    assert (chain.input_synthesizers is not None) is (method == "unlocked")
    waits = {one.waits_for for one in chain.feedback}  # pyright: ignore[reportAttributeAccessIssue]
    assert (waits == {"receiver"}) is (method not in UNWAITING)


@pytest.mark.parametrize("method", ["backprop", "cdni", "dni", "dfa"])
def test_a_network_of_convolutions_is_trained_too(method: str) -> None:
    setting = replace(SMALL, method=method, synthesizer_size=2 if method == "dni" else 0, hidden_size=3, network="cnn")
    chain = build(setting)
    before = [parameter.detach().clone() for parameter in chain.network.parameters()]
    decoupled_networks.train(chain, setting, (), print)
    assert sum(torch.equal(*both) for both in zip(chain.network.parameters(), before, strict=True)) == 0
    assert 0 <= error_of(chain, "test") <= 100


def test_a_run_sees_the_images_in_whole_rounds_and_its_rate_falls_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    rates: list[float] = []
    chain = build(SMALL)

    def step(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        seen.append(inputs)
        rates.append(chain.optimizers[0].param_groups[0]["lr"])

    monkeypatch.setattr(chain, "train_step", step)
    scored: list[int] = []
    decoupled_networks.train(chain, replace(SMALL, falling=0.5), (2, 8), scored.append)
    assert scored == [2, 8]
    assert rates == pytest.approx([1e-3] * 5 + [0.75e-3, 0.5e-3, 0.25e-3])
    images, _ = decoupled_networks.digits("train")
    assert len(torch.cat(seen).unique(dim=0)) == min(len(images) // 20 * 20, 160)


def test_errors_are_percentages_and_the_network_is_left_in_training() -> None:
    chain = build(SMALL)
    images, labels = decoupled_networks.digits("test")
    chain.network.eval()
    wrong = (chain(images).argmax(dim=1) != labels).double().mean()
    chain.network.train()
    assert error_of(chain, "test") == pytest.approx(100 * float(wrong))
    assert chain.network.training


def test_a_record_of_a_run_has_its_curve_and_what_a_method_is_known_to_work_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = torch.get_num_threads()
    result = train(**asdict(replace(SMALL, steps=20)))
    torch.set_num_threads(threads)
    assert [row[0] for row in result["curve"]] == list(range(1, 21))
    assert {"interface_1_target_r2", "interface_2_shrinkage"} <= result["metrics"].keys()
    assert result["cpu"] > 0
    dni, cdni = (setting_of("fcn", name, 4, 0.5, 1, steps) for name, steps in (("dni", None), ("cdni", 7)))
    assert (dni["rate"], dni["synthesizer_rate"], dni["synthesizer_size"], dni["steps"]) == (2e-4, 1e-3, 256, 24_000)
    cnn = setting_of("cnn", "cdni", 3, 1.0, 0, None)
    assert Setting(**cnn) == Setting(  # pyright: ignore[reportArgumentType]
        "cdni", 3, 1.0, 0, 2000, 1e-3, 1e-3, 0, hidden_size=16, batch_size=100, network="cnn"
    )
    assert (cdni["rate"], cdni["synthesizer_size"], cdni["steps"], cdni["probability"]) == (1e-3, 0, 7, 0.5)


def test_table_and_figure_show_errors_by_layers_and_probability(capsys: pytest.CaptureFixture[str]) -> None:
    records: list[Record] = [
        {"metric": "m", "method": method, "layers": layers, "probability": p, "seed": seed, "steps": 10, "value": value}
        for method, layers, p, seed, value in (
            ("cdni", 3, 1, 0, 2.0), ("cdni", 3, 1, 1, 2.5), ("cdni", 4, 1, 0, 3.0), ("cdni", 3, 0.5, 0, 4.0),
            ("backprop", 3, 1, 0, 1.0),
        )
    ]  # fmt: skip
    show(records)
    out = capsys.readouterr().out
    printed = cells(out)
    assert printed["backprop"] == ["1", "10", "1.00", ""]
    assert printed["cdni"] == ["0.5", "10", "4.00", ""]
    assert "| cdni          | 1   | 10      | 2.25 (2.00 to 2.50) | 3.00     |" in out
    assert printed["published"] == ["1", "500,000", *(f"{value:.1f}" for value in PUBLISHED["backprop"][:2])]
    convolutions = {**records[0], "network": "cnn", "value": 7.0}
    show([convolutions])
    assert cells(capsys.readouterr().out)["cnn cdni"] == ["1", "10", "7.00"]
    by_layers, by_probability = draw([*records, convolutions]).axes
    assert lines(by_layers) == {"cdni": ([0, 1], [2.25, 3.0], GREEN), "backprop": ([0], [1.0], BLACK)}
    assert lines(by_probability)["cdni"] == ([0, 1], [4.0, 2.25], GREEN)
    assert dots(by_layers) == {(0, 2.0), (0, 2.5), (1, 3.0), (0, 1.0)}
