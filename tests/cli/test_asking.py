"""`sgrnn evaluate`, `sgrnn generate` and `sgrnn compare`."""

import json
import re
from pathlib import Path

import pytest

from sgrnn.data import load_texts

from .commands import Commands


def records_of(run: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def mine(sgrnn: Commands) -> str:
    """A run whose best checkpoint is not its last."""
    sgrnn.well("train", "tiny.yaml", "--run", "mine", "--training.max_updates=60", "--optimizer.learning_rate=0.1")
    losses = [record["valid_loss"] for record in records_of("mine") if "valid_loss" in record]
    assert min(losses) < losses[-1]
    return "mine"


def test_every_token_of_a_split_is_counted_once_whatever_the_batch_size(sgrnn: Commands, stand_ins: Path) -> None:
    shrunk = ("--model.hidden_size=8", "--model.num_layers=1", "--data.tokenizer.vocabulary_size=40")
    sgrnn.well(
        "train", "ptb-word-small", *shrunk, "--training.max_updates=20", "--training.seed=1", "--run", "ptb",
        "--data", stand_ins,
    )  # fmt: skip
    outputs = [
        sgrnn.well("evaluate", "ptb", "--split", "test", "--batch-size", size, "--data", stand_ins)
        for size in (20, 999)
    ]
    text = load_texts("ptb", stand_ins).texts["test"]
    words = len(text.split()) + text.count("\n")
    for output in outputs:
        assert output.startswith(f"ptb test: {words:,} tokens, {words:,} words, {len(text):,} characters\n")
        assert re.search(r"\n\d\.\d{4} nats per token, perplexity \d+\.\d\d per token\n", output)
        assert re.search(r"\n\d+\.\d\d per word, \d\.\d{4} bits per character\n$", output)
    assert outputs[0] == outputs[1]


def test_evaluation_is_of_the_best_checkpoint(sgrnn: Commands, mine: str) -> None:
    best = min((record for record in records_of(mine) if "valid_loss" in record), key=lambda r: r["valid_loss"])
    output = sgrnn.well("evaluate", mine, "--split", "valid", "--batch-size", 3)
    assert f"{best['valid_loss']:.4f} nats per token, perplexity {best['valid_perplexity']:.2f} per token" in output
    expected = f"{best['valid_word_perplexity']:.2f} per word, {best['valid_bits_per_character']:.4f} bits per char"
    assert expected in output


def test_all_speak_of_the_same_best_where_it_lies_within_an_epoch(sgrnn: Commands, folder: Path) -> None:
    often = ("--training.evaluate_every=5", "--training.max_updates=53", "--optimizer.learning_rate=0.3")
    end = sgrnn.well("train", "tiny.yaml", "--run", "mine", *often)
    best = min((record for record in records_of("mine") if "valid_loss" in record), key=lambda r: r["valid_loss"])
    assert best["update"] % 9, "the test means the best not to be at the end of an epoch"
    assert best["update"] < 53
    perplexity = f"{best['valid_perplexity']:.2f}"
    assert f"validation perplexity {perplexity} (best of 15 evaluations)" in end
    assert f"perplexity {perplexity} per token" in sgrnn.well("evaluate", "mine", "--split", "valid")
    assert f" {perplexity} " in sgrnn.well("compare", "mine")
    (folder / "space.yaml").write_text("optimizer.learning_rate: [0.3]\n")
    output = sgrnn.well("sweep", "tiny.yaml", "--space", "space.yaml", "--study", "one", "--trials", 1, *often)
    assert f"perplexity {perplexity}" in output
    assert f"perplexity {perplexity} per token" in sgrnn.well("evaluate", "one/trials/0000", "--split", "valid")


@pytest.mark.parametrize(("split", "tokens"), [("train", 208), ("valid", 64), ("test", 48)])
def test_each_split_is_counted_to_the_last_token(sgrnn: Commands, mine: str, split: str, tokens: int) -> None:
    words = tokens // 16 * 5  # four words and a line end a line
    output = sgrnn.well("evaluate", mine, "--split", split)
    assert output.startswith(f"text {split}: {tokens} tokens, {words} words, {tokens} characters\n")


def test_evaluation_of_a_split_that_is_not_there_is_refused(sgrnn: Commands) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "mine", "--data.test=null")
    message = sgrnn.refused("evaluate", "mine")
    assert message.endswith("has no split named 'test'; expected one of train, valid")


def test_subwords_are_scored_per_word_and_character_of_the_text(sgrnn: Commands) -> None:
    text = Path(__file__).read_text()
    Path("texts/long.txt").write_text(text)
    subwords = ("--data.tokenizer.kind=bpe", "--data.tokenizer.vocabulary_size=400", "--data.train=texts/long.txt")
    sgrnn.well("train", "tiny.yaml", "--run", "mine", *subwords)
    output = sgrnn.well("evaluate", "mine", "--split", "train")
    words = len(text.split()) + text.count("\n")
    tokens = re.match(r"text train: ([\d,]+) tokens, ", output)
    assert tokens is not None
    assert int(tokens[1].replace(",", "")) < len(text)
    assert f" {words:,} words, {len(text):,} characters\n" in output


def test_the_same_seed_gives_the_same_text_and_no_seed_another_each_time(sgrnn: Commands, mine: str) -> None:
    def generate(*options: object) -> str:
        return sgrnn.well("generate", mine, "--prompt", "abc a", "--length", 60, *options)

    assert generate("--seed", 1) == generate("--seed", 1)
    assert generate("--seed", 1) != generate("--seed", 2)
    assert generate() != generate()
    assert generate("--temperature", 0) == generate("--temperature", 0, "--seed", 5)
    assert generate("--seed", 1).startswith("abc a")
    assert len(generate("--seed", 1)) == len("abc a") + 60 + len("\n")


def test_unknown_characters_of_a_prompt_are_refused(sgrnn: Commands, mine: str) -> None:
    assert sgrnn.refused("generate", mine, "--prompt", "ab\nxé").startswith(
        "the prompt holds the character 'x' (U+0078) in line 2, not among the 10 of the train text; "
    )


def test_a_prompt_that_is_not_utf_8_is_refused(sgrnn: Commands, mine: str) -> None:
    prompt = b"caf\xe9".decode(errors="surrogateescape")  # as Python reads such an argument
    assert sgrnn.refused("generate", mine, "--prompt", prompt) == "the prompt must be UTF-8 text, got 'caf\\udce9'"


def test_unknown_words_of_a_prompt_are_named_apart_from_the_text(sgrnn: Commands) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "mine", "--data.tokenizer.kind=word", "--sample.prompt=''")
    outcome = sgrnn("generate", "mine", "--prompt", "zebra xylophone zebra", "--length", 5, "--seed", 1)
    assert outcome.status == 0
    assert outcome.err == "not in the vocabulary, read as <unk>: zebra, xylophone\n"
    assert outcome.out.startswith("<unk> <unk> <unk>")


@pytest.mark.parametrize(
    ("option", "value"), [("--length", "0"), ("--temperature", "-1"), ("--seed", "-1"), ("--seed", str(2**63))]
)
def test_options_out_of_range_are_refused(sgrnn: Commands, mine: str, option: str, value: str) -> None:
    outcome = sgrnn("generate", mine, option, value)
    assert outcome.status == 2
    assert f"Invalid value for '{option}'" in outcome.err


def test_runs_are_compared_in_a_table_and_a_figure(sgrnn: Commands, mine: str) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "sub/mine", "--policy.kind=truncated")
    output = sgrnn.well("compare", mine, "sub/mine", "--output", "both.png")
    assert Path("both.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert "curves: both.png" in output
    rows = {cells[1].strip(): [cell.strip() for cell in cells] for line in output.splitlines()
            if len(cells := line.split("│")) > 8}  # fmt: skip
    assert set(rows) == {"mine", "sub/mine"}
    for name, row in rows.items():
        records = records_of(name)
        best = min((record for record in records if "valid_loss" in record), key=lambda record: record["valid_loss"])
        assert row[3:5] == [f"{best['valid_loss']:.4f}", f"{best['valid_perplexity']:.2f}"]
        assert row[5:7] == [f"{best['valid_word_perplexity']:.2f}", f"{best['valid_bits_per_character']:.3f}"]
        last = [record for record in records if "loss" in record][-1]
        figures = [f"{last['r2']:.3f}", f"{last['gate']:.3f}"] if name == "mine" else ["", ""]
        assert row[9:11] == figures
    assert rows["mine"][2] == "synthetic 3"
    assert rows["sub/mine"][2] == "truncated 3"
    sgrnn.well("compare", mine)
    assert Path("compare.png").exists()


def test_a_figure_that_cannot_be_written_is_refused(sgrnn: Commands, mine: str) -> None:
    message = sgrnn.refused("compare", mine, "--output", "nowhere/both.png")
    assert message == "cannot write nowhere/both.png: No such file or directory; name another file with --output"
