"""`sgrnn report`: a page that can be read in a real browser, and what is refused."""

import json
import re
import shutil
import signal
from pathlib import Path
from time import sleep

import pytest
from made_up import make_diagnosis
from safetensors.torch import load_file

from .browser import measure
from .commands import Commands, records_of, table_in

FIGURES = {
    "losses", "gradient-norm", "cell-norm", "synthesizer", "injected-share", "cosine", "r2", "norms", "share-by-lag",
    "bias", "bias-by-parameter",
}  # fmt: skip
WRONG = (
    "<!doctype html><html><head></head><body><img src='http://127.0.0.1:47808/picture.png'>"
    "<div style='width: 3000px'>wide</div><figure id='one'><img src='data:image/png;base64,AAAA' alt='broken'>"
    "</figure><script>console.error('an error'); missing()</script></body></html>"
)


def test_a_page_can_be_read_on_a_phone_and_on_a_screen(sgrnn: Commands, tiny: str, tmp_path: Path) -> None:
    odd = "runs/a-name-so-long-that-it-would-never-fit-on-a-phone-without-being-broken-somewhere <b>&amp;"
    Path("runs").mkdir()
    Path(tiny).rename(odd)
    sgrnn.well("train", "tiny.yaml", "--run", "runs/plain", "--gradient.kind=truncated")
    sgrnn.well("diagnose", odd, "--horizon", 8, "--spans", 12)
    assert sgrnn.well("report", odd, "runs/plain", "--output", "pages/both.html") == (
        f"report: pages/both.html, {len(FIGURES)} figures; each run's are in its folder under figures/\n"
        "not diagnosed yet: sgrnn diagnose runs/plain\n"
    )
    page = Path("pages/both.html").read_text("utf-8")
    *readable, wrong = measure([(page, 400), (page, 1400), (WRONG, 400)], tmp_path)
    for width, columns, seen in zip((400, 1400), (1, 2), readable, strict=True):
        assert "HeadlessChrome" in seen["browser"]
        assert (seen["errors"], seen["requests"], seen["overflowing"]) == ([], [], [])
        assert seen["width"] <= width
        assert {figure["id"] for figure in seen["figures"]} == FIGURES
        assert all(figure["natural"] > 0 for figure in seen["figures"])
        assert all(figure["width"] > 300 < 10 * figure["height"] for figure in seen["figures"])
        assert len({figure["left"] for figure in seen["figures"]}) == columns
        for words in (odd, "Is it helping?", "of plain truncation", "Samples", "Recipes", "hidden_size: 12"):
            assert words in seen["text"]
        assert seen["text"].index("Verdict") < seen["text"].index(
            "runs/plain: not diagnosed, so what its gradients are"
        )
        assert f"synthetic 3 ({odd}) against truncated 3 (runs/plain): validation bits per character " in seen["text"]
    assert "an error" in wrong["errors"], "the browser sees what must not be"
    assert any("missing is not defined" in error for error in wrong["errors"])
    assert any(error.startswith("broken: EncodingError") for error in wrong["errors"])
    assert wrong["requests"] == ["http://127.0.0.1:47808/picture.png"]
    assert wrong["width"] > 3000
    assert wrong["overflowing"] == ['<div style="width: 3000px">wide</div>']


def test_runs_are_shown_while_they_train(sgrnn: Commands, tiny: str) -> None:
    often = ("--training.log_every=1", "--training.checkpoint_every=1", "--training.evaluate_every=2")
    running = sgrnn.process("train", "tiny.yaml", "--run", "mine", "--training.max_updates=50000", *often,
                            "--training.epochs=20000")  # fmt: skip
    try:
        while not (Path("mine/metrics.jsonl").exists() and "valid_loss" in Path("mine/metrics.jsonl").read_text()):
            assert running.alive
            sleep(0.05)
        for _ in range(3):  # at different moments of its updates and checkpoints
            printed = sgrnn.well("compare", tiny, "mine")
            assert re.search(r"^mine: still training, update [\d,]+ of 50,000$", printed, re.MULTILINE)
        sgrnn.well("report", "mine")
        assert running.alive
        page = Path("report.html").read_text("utf-8")
        assert re.search(r"still training, update [\d,]+ of 50,000", page)
        assert page.count("data:image/svg+xml") == 5
        assert "<blockquote>" in page, "a sample of the best so far"
    finally:
        running.send(signal.SIGKILL)
        running.wait()
    with Path("mine/metrics.jsonl").open("a") as record:
        record.write('{"update": 49')
    assert re.search(r"mine: stopped, update [\d,]+ of 50,000: go on with", sgrnn.well("compare", "mine"))


def test_what_evaluate_measured_is_kept_and_shown(sgrnn: Commands, tiny: str, mine: str) -> None:
    assert "test" not in sgrnn.well("compare", tiny, mine).partition("curves:")[0]
    sgrnn.well("report", tiny)
    assert f"not measured: <code>sgrnn evaluate {tiny}</code>" in Path("report.html").read_text("utf-8")
    printed = {run: sgrnn.well("evaluate", run) for run in (tiny, mine)}
    sgrnn.well("evaluate", tiny, "--split", "valid")
    scores = json.loads(Path(tiny, "scores.json").read_text())
    assert scores.keys() == {"train-part", "test", "valid"}
    best = min(records_of(tiny), key=lambda record: record.get("valid_loss", 99.0))
    assert scores["valid"]["update"] == scores["test"]["update"] == best["update"]
    assert scores["valid"]["loss"] == pytest.approx(best["valid_loss"], rel=1e-6)
    cells = table_in(sgrnn.well("compare", tiny, mine))
    for run in (tiny, mine):
        (bits,) = re.findall(r"([\d.]+) bits per character", printed[run])
        assert float(cells[run]["test bits/char"]) == pytest.approx(float(bits), abs=1e-3)
    about = json.loads(Path(tiny, "about.json").read_text())
    weights = load_file(next(Path(tiny, "checkpoints").glob("*/model.safetensors")))
    assert about["parameters"]["model"] == sum(weight.numel() for weight in weights.values())
    assert about["parameters"]["synthesizer"] > 0
    assert about["learns"] == "text: 208 tokens, 65 words and line ends, 208 characters to train on, vocabulary 10"
    sgrnn.well("resume", tiny)
    assert json.loads(Path(tiny, "about.json").read_text()) == about, "it began when it began"
    Path(tiny, "diagnosis.json").write_text(json.dumps(make_diagnosis()))
    sgrnn.well("report", tiny)
    page = Path("report.html").read_text("utf-8")
    for words in (about["learns"], f"(at update 1,234; the best is now {best['update']}: <code>"):
        assert words in page
    assert f"; update {best['update']}, evaluated 20" in page
    Path(tiny, "scores.json").write_text("{")
    assert "scores.json is damaged: " in sgrnn.refused("compare", tiny, mine)
    outcome = sgrnn("evaluate", tiny)
    assert (outcome.status, outcome.out) == (0, printed[tiny]), "the score is printed whatever becomes of it"
    assert re.fullmatch(
        r"the score was not kept: .*scores\.json is damaged: .*; remove it, and write it again with `sgrnn evaluate "
        r"tiny`\n",
        outcome.err,
    )


def test_what_cannot_be_reported_is_refused(sgrnn: Commands, mine: str) -> None:
    assert "nowhere holds no run" in sgrnn.refused("report", "nowhere")
    for command in ("report", "compare"):
        assert sgrnn.refused(command, "mine", "./mine/../mine") == (
            "runs must differ from each other, got mine twice: name each run once"
        )
    Path("file").write_text("")
    message = sgrnn.refused("report", "mine", "--output", "file/report.html")
    assert re.fullmatch(r"cannot write file/report\.html: .*; name another file with --output", message)
    for command in ("report", "compare"):
        message = sgrnn.refused(command, "mine", "--output", ".")
        assert message == "cannot write .: is a folder, expected the name of a file; name another file with --output"
    about = Path("mine/about.json").read_text()
    for name, damaged in (
        ("diagnosis.json", "{"), ("diagnosis.json", '{"a": 1}'), ("about.json", '{"parameters": 5}'),
    ):  # fmt: skip
        Path("mine/about.json").write_text(about)
        Path("mine", name).write_text(damaged)
        assert f"mine/{name} is damaged: " in sgrnn.refused("report", "mine")
        Path("mine", name).unlink()
    shutil.rmtree("mine/figures", ignore_errors=True)
    Path("mine/figures").write_text("in the way, as a folder of others would be")
    outcome = sgrnn("report", "mine", "--output", "page.html")
    assert (outcome.status, outcome.out.splitlines()[0].endswith(" figures")) == (0, True)
    assert re.match(r"a run's figures are on the page alone: cannot write mine/figures/", outcome.err)
    assert Path("page.html").read_text().count("<img") > 2
    Path("mine/figures").unlink()
    Path("mine/metrics.jsonl").unlink()
    assert "mine has no evaluation yet: " in sgrnn.well("report", "mine")
