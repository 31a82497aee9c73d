"""`sgrnn report`: a page that holds all it shows, opened in a real browser."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path

from .browser import measure
from .commands import Commands

SHORT = ("--horizon", 8, "--spans", 12)
ALWAYS = ["losses", "gradient-norm", "cell-norm"]
SYNTHETIC = ["synthesizer", "injected-share"]
DIAGNOSED = ["cosine", "r2", "norms", "bias", "bias-by-parameter", "gates"]


class Page(HTMLParser):
    """What a page refers to and holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.figures: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data"):
                self.links.append(value or "")
            if (tag, name) == ("figure", "id"):
                self.figures.append(value or "")


def assert_readable(path: str, folder: Path, figures: set[str]) -> str:
    """The page stands alone, and shows these figures within the width of a phone and of a screen; its text."""
    page = Path(path).read_text("utf-8")
    found = Page(page)
    assert set(found.figures) == figures
    assert all(link.startswith("data:image/svg+xml;base64,") for link in found.links)
    assert not found.tags & {"script", "link", "iframe", "object"}
    assert "@import" not in page
    assert "url(" not in page
    text = ""
    for width, columns in ((400, 1), (1400, 2)):
        seen = measure(page, width, folder)
        text = seen["text"]
        assert "HeadlessChrome" in seen["browser"]
        assert (seen["errors"], seen["requests"], seen["overflowing"]) == ([], [], [])
        assert seen["width"] <= width
        assert {figure["id"] for figure in seen["figures"]} == figures
        assert all(
            figure["natural"] > 0 and figure["width"] > 300 < 10 * figure["height"] for figure in seen["figures"]
        )
        assert len({figure["left"] for figure in seen["figures"]}) == columns
    return text


def test_a_run_has_a_page_of_its_own_and_figures_in_its_folder(sgrnn: Commands, tmp_path: Path) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "mine", "--training.diagnosis={every: 4, horizon: 6, spans: 4}")
    sgrnn.well("diagnose", "mine", *SHORT)
    output = sgrnn.well("report", "mine", "--output", "pages/report.html")
    figures = {*ALWAYS, *SYNTHETIC, *DIAGNOSED, "carried", "while-training"}
    text = assert_readable("pages/report.html", tmp_path, figures)
    assert output == f"report: pages/report.html, {len(figures)} figures; each run's are in its folder under figures/\n"
    for words in ("Is it helping?", "of plain truncation", "Samples", "Recipes", "hidden_size: 12", "synthetic 3"):
        assert words in text
    files = {path.name for path in Path("mine/figures").iterdir()}
    assert files == {f"{name}.{form}" for name in figures for form in ("png", "svg")}
    for path in Path("mine/figures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")


def test_runs_side_by_side_whatever_they_are_called(sgrnn: Commands, tmp_path: Path) -> None:
    odd = "runs/a-name-so-long-that-it-would-never-fit-on-a-phone-without-being-broken-somewhere <b>&amp;"
    sgrnn.well("train", "tiny.yaml", "--run", odd)
    sgrnn.well("train", "tiny.yaml", "--run", "runs/plain", "--gradient.kind=truncated")
    sgrnn.well("diagnose", odd, *SHORT, "--against", "runs/plain")
    output = sgrnn.well("report", odd, "runs/plain", "--output", "both.html")
    assert output.endswith("not diagnosed yet: sgrnn diagnose runs/plain\n")
    text = assert_readable(
        "both.html", tmp_path, {*ALWAYS, *SYNTHETIC, *DIAGNOSED, "carried", "frequency", "place"}
    )  # fmt: skip
    assert odd in text
    assert "Not diagnosed yet: sgrnn diagnose runs/plain" in text
    assert re.search(r"what is not as in .*\)\s+estimator\.kind: truncated", text)
    assert {path.stem for path in Path("runs/plain/figures").iterdir()} == {"losses", "gradient-norm", "cell-norm"}


def test_recipes_are_compared_field_by_field(sgrnn: Commands) -> None:
    rates = ("--optimizer.learning_rate=0.002", "--synthesizer_optimizer.learning_rate=0.001")
    for name, overrides in (
        ("one", rates), ("same", rates), ("other", (*rates, "--optimizer.learning_rate=0.001")),
        ("levels", (*rates, "--model.slower_levels=[{period: 2, hidden_size: 5}]")),
    ):  # fmt: skip
        sgrnn.well("train", "tiny.yaml", "--run", name, "--training.max_updates=1", *overrides)
    sgrnn.well("report", "one", "same", "other", "levels")
    page = html.unescape(Path("report.html").read_text("utf-8"))
    found = dict(re.findall(r"<h3>(\w+) \(what is not as in one\)</h3><pre>(.*?)</pre>", page, re.DOTALL))
    assert found["same"] == "the same"
    assert found["other"] == "optimizer.learning_rate: 0.001"
    level = '[{"hidden_size": 5, "period": 2, "message_size": null, "interface": false}]'
    assert found["levels"] == f"model.slower_levels: {level}"


def test_a_run_on_a_task_has_no_sample(sgrnn: Commands, folder: Path, tmp_path: Path) -> None:
    (folder / "task.yaml").write_text(
        "task: {kind: copy, bits: 2, threshold: 10, episodes_per_epoch: 5}\nmodel: {core: gru, hidden_size: 8}\n"
        "gradient: {kind: bptt}\ntraining: {epochs: 2, batch_size: 3, log_every: 2, device: cpu}\n"
    )
    sgrnn.well("train", "task.yaml", "--run", "mine")
    sgrnn.well("diagnose", "mine", *SHORT)
    sgrnn.well("report", "mine")
    figures = {*ALWAYS, *DIAGNOSED, "length"} - {"norms"}  # at its only boundaries all rows end
    assert "Samples" not in assert_readable("report.html", tmp_path, figures)


def test_of_whole_episodes_it_says_what_cannot_be_known(sgrnn: Commands, folder: Path) -> None:
    (folder / "task.yaml").write_text(
        "task: {kind: copy, bits: 2, episodes_per_epoch: 4}\nmodel: {core: lstm, hidden_size: 8}\n"
        "gradient: {kind: synthetic, window: 2}\ntraining: {epochs: 2, batch_size: 3, device: cpu}\n"
    )
    sgrnn.well("train", "task.yaml", "--run", "mine")
    assert sgrnn.well("diagnose", "mine", *SHORT).count("loss recovered from the predictions: R² ?\n") == 1
    sgrnn.well("report", "mine")
    assert "Whether the predictions add up to the loss cannot be said" in Path("report.html").read_text("utf-8")


def test_where_there_is_only_noise_it_says_so(sgrnn: Commands, folder: Path) -> None:
    """Without weights the bits to copy give a gradient to the output's bias alone, which is zero in the mean."""
    (folder / "task.yaml").write_text(
        "task: {kind: copy, bits: 2, episodes_per_epoch: 2}\n"
        "model: {core: lstm, hidden_size: 4, initial_range: 1e-12}\ngradient: {kind: truncated, window: 2}\n"
        "optimizer: {kind: sgd, learning_rate: 1e-30}\ntraining: {epochs: 1, batch_size: 3, device: cpu}\n"
    )
    sgrnn.well("train", "task.yaml", "--run", "mine")
    assert "what this estimator is worth is not to be told from noise\n" in sgrnn.well("diagnose", "mine", *SHORT)
    sgrnn.well("report", "mine")
    page = Path("report.html").read_text("utf-8")
    assert "The mean parameter gradient is off by an unknown part: not to be told from noise." in page


def test_the_browser_sees_what_must_not_be(tmp_path: Path) -> None:
    page = (
        "<!doctype html><html><head></head><body><img src='http://127.0.0.1:47808/picture.png'>"
        "<div style='width: 3000px'>wide</div><figure id='one'><img src='data:image/png;base64,AAAA' alt='broken'>"
        "</figure><script>console.error('an error'); missing()</script></body></html>"
    )
    seen = measure(page, 400, tmp_path)
    assert "an error" in seen["errors"]
    assert any("missing is not defined" in error for error in seen["errors"])
    assert any(error.startswith("broken: EncodingError") for error in seen["errors"])
    assert seen["requests"] == ["http://127.0.0.1:47808/picture.png"]
    assert seen["width"] > 3000
    assert seen["overflowing"] == ['<div style="width: 3000px">wide</div>']


def test_what_cannot_be_reported_is_refused(sgrnn: Commands) -> None:
    assert "nowhere holds no run" in sgrnn.refused("report", "nowhere")
    sgrnn.well("train", "tiny.yaml", "--run", "mine")
    Path("file").write_text("")
    message = sgrnn.refused("report", "mine", "--output", "file/report.html")
    assert re.fullmatch(r"cannot write file/report\.html: .*; name another file with --output", message)
    Path("mine/diagnosis.json").write_text("{")
    assert "diagnosis.json is damaged" in sgrnn.refused("report", "mine")
    Path("mine/diagnosis.json").unlink()
    Path("mine/metrics.jsonl").unlink()
    assert "mine has no evaluation yet: " in sgrnn.well("report", "mine")
