"""`sgrnn report`: a page that can be read in a real browser, and what is refused."""

import re
from pathlib import Path

from .browser import measure
from .commands import Commands

FIGURES = {
    "losses", "gradient-norm", "cell-norm", "synthesizer", "injected-share", "cosine", "r2", "norms", "share-by-lag",
    "bias", "bias-by-parameter",
}  # fmt: skip
WRONG = (
    "<!doctype html><html><head></head><body><img src='http://127.0.0.1:47808/picture.png'>"
    "<div style='width: 3000px'>wide</div><figure id='one'><img src='data:image/png;base64,AAAA' alt='broken'>"
    "</figure><script>console.error('an error'); missing()</script></body></html>"
)


def test_a_page_can_be_read_on_a_phone_and_on_a_screen(sgrnn: Commands, tmp_path: Path) -> None:
    odd = "runs/a-name-so-long-that-it-would-never-fit-on-a-phone-without-being-broken-somewhere <b>&amp;"
    sgrnn.well("train", "tiny.yaml", "--run", odd)
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
        assert "Not diagnosed yet: sgrnn diagnose runs/plain" in seen["text"]
    assert "an error" in wrong["errors"], "the browser sees what must not be"
    assert any("missing is not defined" in error for error in wrong["errors"])
    assert any(error.startswith("broken: EncodingError") for error in wrong["errors"])
    assert wrong["requests"] == ["http://127.0.0.1:47808/picture.png"]
    assert wrong["width"] > 3000
    assert wrong["overflowing"] == ['<div style="width: 3000px">wide</div>']


def test_what_cannot_be_reported_is_refused(sgrnn: Commands) -> None:
    assert "nowhere holds no run" in sgrnn.refused("report", "nowhere")
    sgrnn.well("train", "tiny.yaml", "--run", "mine")
    for command in ("report", "compare"):
        assert sgrnn.refused(command, "mine", "./mine/../mine") == (
            "runs must differ from each other, got mine twice: name each run once"
        )
    Path("file").write_text("")
    message = sgrnn.refused("report", "mine", "--output", "file/report.html")
    assert re.fullmatch(r"cannot write file/report\.html: .*; name another file with --output", message)
    Path("mine/diagnosis.json").write_text("{")
    assert "diagnosis.json is damaged" in sgrnn.refused("report", "mine")
    Path("mine/diagnosis.json").unlink()
    Path("mine/metrics.jsonl").unlink()
    assert "mine has no evaluation yet: " in sgrnn.well("report", "mine")
