"""`sgrnn evaluate --text` and `sgrnn generate` where there is a run folder and nothing else."""

import json
import re
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from shutil import rmtree

import pytest

from .commands import Commands

WORDS = ("--data.tokenizer.kind=word", "--data.tokenizer.vocabulary_size=8", "--sample.prompt=''")


def test_a_file_is_scored_to_the_digit_as_the_split_of_the_same_text_was(sgrnn: Commands) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "mine", *WORDS)
    splits = {split: sgrnn.well("evaluate", "mine", "--split", split) for split in ("train", "valid", "test")}
    Path("texts").rename("elsewhere")
    rmtree("data")
    for split, shown in splits.items():
        path = f"elsewhere/{split}.txt"
        found = sgrnn.well("evaluate", "mine", "--text", path)
        assert found == shown.replace(f"text {split}: ", f"{path}: ")
        assert re.search(r"\d of the bits per character spell what <unk> stands for\n", found)
    message = sgrnn.refused("evaluate", "mine")
    assert "train.txt does not exist; expected a UTF-8 text file" in message
    assert message.endswith("; or score a text file by the run folder alone: `sgrnn evaluate mine --text FILE`")


def test_standard_input_is_a_text_too(sgrnn: Commands, mine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = sgrnn.well("evaluate", mine, "--split", "test")
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(Path("texts/test.txt").read_bytes())))
    assert sgrnn.well("evaluate", mine, "--text", "-") == expected.replace("text test: ", "standard input: ")
    monkeypatch.setattr(sys, "stdin", None)
    assert sgrnn.refused("evaluate", mine, "--text", "-") == "standard input is closed: expected a UTF-8 text there"


def test_every_line_has_a_score_and_they_add_up(sgrnn: Commands, mine: str) -> None:
    test, valid = (Path(f"texts/{split}.txt").read_text() for split in ("test", "valid"))
    text = test.replace("\n", "\n\n", 1) + valid.replace("\n", " ") * 2
    Path("mine.txt").write_text(text)
    output = sgrnn.well("evaluate", mine, "--text", "mine.txt", "--lines")
    heading, *rows = output.splitlines()
    assert heading.split() == ["line", "tokens", "nats", "perplexity", "text"]
    lines = text.removesuffix("\n").split("\n")
    total = 0.0
    for number, (line, row) in enumerate(zip(lines, rows, strict=False), 1):
        found = re.fullmatch(r" *(\d+) +(\d+) +([\d.]+) +([\d.]+)  (.*)", row)
        assert found is not None, row
        assert (int(found[1]), int(found[2])) == (number, len(line) + 1)
        assert found[5] == (line if len(line) <= 60 else f"{line[:59]}…")
        total += float(found[3])
    summary = rows[len(lines) :]
    assert "\n".join(summary) + "\n" == sgrnn.well("evaluate", mine, "--text", "mine.txt")
    per_token = float(summary[1].split()[0])
    assert total / (len(text) + 1) == pytest.approx(per_token, abs=5e-4), "a line end was added"


def test_what_does_not_go_together_is_refused(sgrnn: Commands, mine: str) -> None:
    file = ("--text", "texts/test.txt")
    assert sgrnn.refused("evaluate", mine, *file, "--split", "test") == (
        "--text names the text to score: remove --split test"
    )
    assert (
        sgrnn.refused("evaluate", mine, "--lines")
        == "--lines goes with --text, the file whose lines are scored: name one"
    )
    assert sgrnn.refused("evaluate", mine, "--text", "nowhere.txt").startswith("nowhere.txt does not exist; ")
    Path("other.txt").write_text("abc Z\n")
    assert sgrnn.refused("evaluate", mine, "--text", "other.txt").startswith(
        "other.txt holds the character 'Z' (U+005A) "
    )
    sgrnn.well("train", "copy-synthetic", "--run", "task", "--training.max_updates=1")
    assert sgrnn.refused("evaluate", "task", *file) == (
        "task learned a task, which no text is scored by: try `sgrnn evaluate task`"
    )
    path = Path(mine, "tokenizer/tokenizer.json")
    form = json.loads(path.read_text())
    del form["spelling"]
    path.write_text(json.dumps(form))
    assert sgrnn.refused("evaluate", mine, *file).startswith("the tokenizer lacks the spelling of its train text, ")
    assert sgrnn.well("evaluate", mine, "--split", "test")


def samples_in(output: str) -> list[str]:
    """The texts between the lines that separate them."""
    return [part.removesuffix("\n") for part in re.split(r"─+ sample \d+ of \d+ ─+\n", output)[1:]]


def test_several_samples_come_apart_and_no_stop_is_in_them(sgrnn: Commands, mine: str) -> None:
    command = ("generate", mine, "--prompt", "abc a", "--length", 40, "--seed", 4, "--temperature", 1.5)
    samples = samples_in(sgrnn.well(*command, "--samples", 3))
    assert [len(sample) for sample in samples] == [5 + 40] * 3
    assert all(sample.startswith("abc a") for sample in samples)
    assert len(set(samples)) == 3
    stopped = samples_in(sgrnn.well(*command, "--samples", 3, "--stop", "\n", "--stop", " a"))
    for whole, part in zip(samples, stopped, strict=True):
        ends = [place for stop in ("\n", " a") if (place := whole.find(stop, 5)) >= 0]
        assert part == whole[: min(ends, default=None)]
    assert stopped != samples
    assert all(len(part) > 5 for part in stopped), "the prompt ends in what is stopped at"
    assert "sample" not in sgrnn.well(*command, "--samples", 1)


def test_generation_from_the_likeliest_alone_is_that_at_temperature_0(sgrnn: Commands, mine: str) -> None:
    greedy = sgrnn.well("generate", mine, "--length", 30, "--temperature", 0)
    for option in (("--top-k", 1), ("--top-p", 1e-9), ("--top-k", 4, "--top-p", 1e-9)):
        assert sgrnn.well("generate", mine, "--length", 30, *option) == greedy
    assert sgrnn.well("generate", mine, "--length", 30, "--top-k", 4, "--temperature", 3) != greedy


def test_options_of_generation_out_of_range_are_refused_by_name(sgrnn: Commands, mine: str) -> None:
    for option in ("--top-k", "--samples"):
        outcome = sgrnn("generate", mine, option, "0")
        assert outcome.status == 2
        assert f"Invalid value for '{option}'" in outcome.err
    for value in ("0.0", "1.5"):
        message = sgrnn.refused("generate", mine, "--top-p", value)
        assert message == f"top_p must be above 0 and at most 1, got {value}"
    assert sgrnn.refused("generate", mine, "--stop", "") == "stop must hold at least one character, got ''"
