"""The page of a report: it stands alone, says what was measured, and shows any name as it is."""

from html.parser import HTMLParser
from pathlib import Path

from made_up import make_diagnosis, make_records, make_run

from sgrnn.analysis.report import RunReport, write_report
from sgrnn.analysis.report.page import code, facts, summary
from sgrnn.analysis.verdict import worth
from sgrnn.training.about import keep_score
from sgrnn.training.kept import keep


class Page(HTMLParser):
    """The links of a page, and the texts of its elements by tag."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self._tags: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in ("meta", "img", "code"):
            self._tags.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert tag == "code" or self._tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._tags:
            self.texts[self._tags[-1]][-1] += data


def test_a_page_stands_alone_and_says_what_was_measured(tmp_path: Path) -> None:
    odd = tmp_path / "odd <b>&amp; 'name'"
    sample = "<script>alert('no')</script> & so on"
    scored = [row for row in make_records() if "valid_loss" in row]
    reports = [
        RunReport(make_run(odd, scored), make_diagnosis(), sample),
        RunReport(make_run(tmp_path / "same", scored), None, None),
        RunReport(
            make_run(tmp_path / "other", [], "--gradient.kind=truncated", "--task.kind=recall", "--task.lag=3"),
            None,
            None,
        ),
    ]
    names, unkept = write_report(reports, tmp_path / "pages" / "report.html")
    page = Page(tmp_path / "pages" / "report.html")
    assert page.texts["h1"] == [f"{odd.name}, same, other"]
    assert len(page.links) == len(names) == 7
    assert unkept == []
    assert all(link.startswith("data:image/svg+xml;base64,") for link in page.links)
    assert not page.texts.keys() & {"script", "link", "iframe", "object", "b"}
    text = (tmp_path / "pages" / "report.html").read_text("utf-8")
    assert "@import" not in text
    assert "url(" not in text
    headings = ["run", "estimator", "loss", "accuracy", "epochs", "seconds"]
    assert page.texts["th"] == headings
    row = ["2.2500", "50.00%", "2", "40"]
    assert page.texts["td"] == [
        str(odd), "synthetic 2", *row, str(tmp_path / "same"), "synthetic 2", *row,
        str(tmp_path / "other"), "truncated 2", *"----",
    ]  # fmt: skip
    assert page.texts["p"][3].startswith("Caution: the runs have learned different things")
    known = [facts(report.run) for report in reports]
    headings, texts = zip(*(fact for run in known for fact in run), strict=True)
    summed = [report.run.name for report in reports if report is not reports[1]]  # of which there is something to say
    assert page.texts["dt"] == [*headings, *summed]
    assert page.texts["p"][:3] == [f"{report.run.name}: " for report in reports]
    verdicts = [worth(report.run, report.diagnosis) for report in reports]
    assert page.texts["strong"] == [text.replace("`", "") for text in verdicts]
    assert page.texts["dd"][:-1] == [text.replace("`", "") for text in (*texts, *summary(reports[0]))]
    assert page.texts["dd"][-1].startswith(f"{tmp_path / 'other'} has no evaluation yet: ")
    assert page.texts["blockquote"] == [sample]
    note = f" (what is not as in {odd})"
    assert page.texts["h3"] == [
        "At their best on the validation split",
        str(odd),
        str(odd),
        f"{tmp_path / 'same'}{note}",
        f"{tmp_path / 'other'}{note}",
    ]
    whole, same, differing = page.texts["pre"]
    assert "hidden_size: 4" in whole
    assert same == "the same"
    assert {"gradient.kind: truncated", "task.lag: 3"} <= set(differing.splitlines())
    assert "hidden_size" not in differing
    for report, own in zip(reports, (names, ["losses"]), strict=False):
        files = {path.name for path in (report.run.folder / "figures").iterdir()}
        assert files == {f"{name}.{form}" for name in own for form in ("png", "svg")}, "of each run its own"


def test_a_task_alone_has_no_sample(tmp_path: Path) -> None:
    write_report([RunReport(make_run(tmp_path / "mine"), None, None)], tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert page.texts["h2"] == ["Verdict", "Runs", "Is it helping?", "Figures", "Recipes"]


def test_facts_of_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "mine", make_records(), "--training.max_updates=4")
    assert facts(run) == [
        ("run", run.name), ("learns", "copy"), ("estimator", "synthetic 2"),
        ("parameters", "not counted before training"), ("began", "not yet"), ("training", "complete, 4 updates; 40 s"),
        ("test score", f"not measured: `sgrnn evaluate {run.folder}`"),
    ]  # fmt: skip
    run.keep_fingerprint({}, {"time": "2026-11-29T01:32:03+00:00"})
    keep(run, "about.json", {"learns": "much", "parameters": {"model": 1234, "synthesizer": 5678}})
    keep_score(run, "test", 4, {"loss": 2.5, "accuracy": 0.25})
    keep_score(run, "valid", 4, {"loss": 1.5})
    about = dict(facts(run))
    assert [about[name] for name in ("learns", "parameters", "began")] == [
        "much",
        "1,234, synthesizer 5,678",
        "2026-11-29 01:32 UTC",
    ]
    assert about["test score"].startswith("loss 2.5000, accuracy 25.00%; update 4, evaluated 20")
    keep_score(run, "test", 2, {"loss": 2.5, "accuracy": 0.25})
    assert dict(facts(run))["test score"].startswith("not measured"), "that was another checkpoint than today's best"


def test_what_stands_between_backticks_is_code_and_nothing_is_markup() -> None:
    assert code("<b> `sgrnn <x>` & so on") == "&lt;b&gt; <code>sgrnn &lt;x&gt;</code> &amp; so on"


def test_a_diagnosis_in_sentences(tmp_path: Path) -> None:
    known = [
        "Measured at update 1,234 over 30 spans: 90% of the true gradient lies within 3.3 steps.",
        "At boundaries R² 0.33, cosine 0.73 with the true gradient of the next 4 steps.",
        "The mean parameter gradient is off by 30%: worth T=2.9 ± 0.1 (between 2 and 4) of plain truncation.",
        "The state's norm is 25; 3% of a prediction is common to all rows.",
        "The predictions add up to the loss with R² 0.54.",
    ]
    run, metrics = make_run(tmp_path / "mine"), make_diagnosis()
    assert summary(RunReport(run, metrics, None)) == known
    metrics["alignment"]["true_horizon"]["error"] = 2.0
    metrics["bias"]["relative_error"]["value"][0][0] = None
    metrics["bias"]["equivalent_window"] = {"value": None, "error": None, "text": "not to be told from noise"}
    metrics["recovered"] = {"value": None, "error": None}
    assert summary(RunReport(run, metrics, None)) == [
        f"{known[0][:-1]}, ± 2.0, which is not known from so few spans: take more.",
        known[1],
        "The mean parameter gradient is off by an unknown part: not to be told from noise.",
        known[3],
        "Whether the predictions add up to the loss cannot be said: no sequence goes on from one span to the next.",
    ]
    del metrics["recovered"]
    assert len(summary(RunReport(run, metrics, None))) == 4
