"""`sgrnn evaluate`, `sgrnn generate` and `sgrnn compare`."""

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from sgrnn.data import load_texts

from .commands import Commands, records_of, table_in


def replaced_in(text: str, folder: Path) -> float:
    """The share of a text's tokens that are not among the 38 most frequent words of its train text."""
    known = Counter(word for word in load_texts("ptb", folder).texts["train"].split() if word != "<unk>")
    kept = {word for word, _ in sorted(known.items(), key=lambda item: (-item[1], item[0]))[:38]} | {"<unk>"}
    return sum(word not in kept for word in text.split()) / (len(text.split()) + text.count("\n"))


def test_every_token_of_a_split_is_counted_once(sgrnn: Commands, stand_ins: Path) -> None:
    shrunk = ("--model.hidden_size=8", "--model.num_layers=1", "--data.tokenizer.vocabulary_size=40")
    sgrnn.well(
        "train", "ptb-word-small", *shrunk, "--training.max_updates=20", "--training.seed=7", "--run", "ptb",
        "--data", stand_ins,
    )  # fmt: skip
    output = sgrnn.well("evaluate", "ptb", "--split", "test", "--data", stand_ins)
    figures = output.splitlines()[1:]
    file = sgrnn.well("evaluate", "ptb", "--text", stand_ins / "ptb" / "ptb.test.txt")
    assert file.splitlines()[1:] == figures, "without the blanks at the ends of its lines, as the split is"
    text = load_texts("ptb", stand_ins).texts["test"]
    words = len(text.split()) + text.count("\n")
    counts = f"{words:,} tokens, {words:,} words, {len(text):,} characters, {len(text.encode()):,} bytes"
    assert output.startswith(f"ptb test: {counts}\n")
    assert re.search(r"\n\d\.\d{4} nats per token, perplexity \d+\.\d\d per token\n", output)
    written = text.split().count("<unk>") / words
    assert written > 0
    assert f"\n<unk> is a word of the text itself: {written:.2%} of the tokens\n" in output
    assert re.search(r"\n\d\.\d{4} of the bits per character spell what <unk> stands for\n", output)
    last = output.splitlines()[-1]
    bits = r"(\d\.\d{4})"
    replaced = rf"{replaced_in(text, stand_ins):.2%}".replace(".", r"\.")
    found = re.fullmatch(
        rf"[\d.]+ per word, {bits} bits per character, {bits} bits per byte, <unk> {replaced} of the tokens", last
    )
    assert found is not None, output
    assert found[1] == found[2], "it is ASCII"


def test_evaluation_is_of_the_best_checkpoint(sgrnn: Commands, mine: str) -> None:
    best = min((record for record in records_of(mine) if "valid_loss" in record), key=lambda r: r["valid_loss"])
    output = sgrnn.well("evaluate", mine, "--split", "valid")
    assert f"{best['valid_loss']:.4f} nats per token, perplexity {best['valid_perplexity']:.2f} per token" in output
    expected = f"{best['valid_word_perplexity']:.2f} per word, {best['valid_bits_per_character']:.4f} bits per char"
    assert expected in output


def test_all_speak_of_the_same_best_where_it_lies_within_an_epoch(sgrnn: Commands, folder: Path) -> None:
    often = (
        "--training.evaluate_every=5",
        "--training.max_updates=53",
        "--optimizer.learning_rate=0.3",
        "--training.seed=7",
    )
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


def test_each_split_is_counted_to_the_last_token(sgrnn: Commands, mine: str) -> None:
    for split, tokens in (("train", 208), ("valid", 64), ("test", 48)):
        words = tokens // 16 * 5  # four words and a line end a line
        output = sgrnn.well("evaluate", mine, "--split", split)
        assert output.startswith(f"text {split}: {tokens} tokens, {words} words, {tokens} characters, {tokens} bytes\n")


def test_evaluation_of_a_split_that_is_not_there_is_refused(sgrnn: Commands, mine: str) -> None:
    message = sgrnn.refused("evaluate", mine, "--split", "dev")
    assert message.endswith("has no split named 'dev'; expected one of train, valid, test")


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
    counted = f" {words:,} words, {len(text):,} characters, {len(text.encode()):,} bytes\n"
    assert counted in output


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


def test_options_out_of_range_are_refused(sgrnn: Commands, mine: str) -> None:
    for option, value in (("--length", "0"), ("--temperature", "-1"), ("--seed", "-1"), ("--seed", str(2**63))):
        outcome = sgrnn("generate", mine, option, value)
        assert outcome.status == 2
        assert f"Invalid value for '{option}'" in outcome.err


def test_runs_are_compared_in_a_table_and_a_figure(sgrnn: Commands, mine: str) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "sub/mine", "--gradient.kind=truncated")
    output = sgrnn.well("compare", mine, "sub/mine", "--output", "both.png")
    assert Path("both.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert "curves: both.png" in output
    rows = table_in(output)
    assert set(rows) == {"mine", "sub/mine"}
    for name, row in rows.items():
        records = records_of(name)
        best = min((record for record in records if "valid_loss" in record), key=lambda record: record["valid_loss"])
        assert (row["loss"], row["perplexity"]) == (f"{best['valid_loss']:.4f}", f"{best['valid_perplexity']:.2f}")
        assert row["per word"] == f"{best['valid_word_perplexity']:.2f}"
        assert row["bits/char"] == f"{best['valid_bits_per_character']:.3f}"
        assert (row["bits/byte"], row["<unk>"]) == (f"{best['valid_bits_per_byte']:.3f}", "0.00%")
        last = [record for record in records if "loss" in record][-1]
        metrics = [f"{last['target_r2']:.3f}", f"{last['shrinkage']:.3f}"] if name == "mine" else ["", ""]
        assert [row["target R²"], row["shrinkage"]] == metrics
    assert rows["mine"]["estimator"] == "synthetic 3"
    assert rows["sub/mine"]["estimator"] == "truncated 3"
    sgrnn.well("compare", mine)
    assert Path("compare.png").exists()


def zipf(folder: Path) -> None:
    """Replace the train text by one of 200 words, of which a few are frequent."""
    draw = random.Random(0)
    words, weights = [f"w{number}" for number in range(200)], [1 / (number + 1) for number in range(200)]
    (folder / "texts" / "train.txt").write_text(
        "".join(" ".join(draw.choices(words, weights, k=draw.randint(3, 12))) + "\n" for _ in range(300))
    )


def test_the_smallest_vocabulary_is_not_the_best(sgrnn: Commands, folder: Path) -> None:
    zipf(folder)
    words = ("--data.tokenizer.kind=word", "--data.valid=null", "--data.test=null", "--sample.prompt=''")
    bits, shares = {}, {}
    for size in (3, 200):
        trained = sgrnn.well(
            "train", "tiny.yaml", "--run", f"r{size}", f"--data.tokenizer.vocabulary_size={size}", *words,
            "--training.max_updates=40", "--model.dropout=0",
        )  # fmt: skip
        assert re.search(r"\d bits per character, \d\.\d+ per byte, <unk> \d+\.\d\d%\n", trained)
        assert re.search(r"; \d+\.\d\d% of the tokens are <unk> in the place of something else\)\n", trained)
        last = sgrnn.well("evaluate", f"r{size}", "--split", "valid").splitlines()[-1]
        found = re.search(r"([\d.]+) bits per character, .*, <unk> ([\d.]+)% of the tokens$", last)
        assert found is not None
        bits[size], shares[size] = float(found[1]), float(found[2])
    assert bits[200] < bits[3]
    assert shares[200] < 2 < shares[3]
    compared = sgrnn.well("compare", "r3", "r200")
    assert "caution: loss and perplexity are per token, and the tokens of the runs differ: " in compared
    assert f" {shares[3]:.2f}% " in compared
    assert "validation texts" not in compared
    sgrnn.well("report", "r3", "r200")
    page = Path("report.html").read_text()
    assert "<p>Caution: loss and perplexity are per token" in page
    assert f">{shares[3]:.2f}%</td>" in page


def test_different_texts_are_not_compared_without_a_word(sgrnn: Commands, mine: str, tiny: str, folder: Path) -> None:
    other = folder / "texts" / "other.txt"
    other.write_text((folder / "texts" / "valid.txt").read_text()[::-1].strip() + "\n")
    assert other.stat().st_size == (folder / "texts" / "valid.txt").stat().st_size, "counts would not tell"
    sgrnn.well("train", "tiny.yaml", "--run", "other", "--data.valid=texts/other.txt")
    differ = "caution: the validation texts of the runs differ: no number compares models on different texts\n"
    assert differ in sgrnn.well("compare", mine, "other")
    Path(tiny).rename("same")
    assert "caution" not in sgrnn.well("compare", mine, "same")
    (Path("same") / "fingerprint.json").unlink()
    assert "caution: whether the validation texts are the same is not known" in sgrnn.well("compare", mine, "same")
    sgrnn.well("resume", "same")
    assert "caution" not in sgrnn.well("compare", mine, "same")
    (folder / "space.yaml").write_text("data.valid: [texts/valid.txt, texts/other.txt]\n")
    space = ("--space", "space.yaml", "--study", "two", "--trials", 3, "--training.max_updates=1")
    assert differ in sgrnn.well("sweep", "tiny.yaml", *space)
    sgrnn.well("train", "copy-synthetic", "--run", "task", "--training.max_updates=1")
    assert "caution: the runs have learned different things" in sgrnn.well("compare", mine, "task")
    (Path("same") / "fingerprint.json").write_text("[")
    message = sgrnn.refused("compare", mine, "same")
    assert message.startswith("same/fingerprint.json is damaged: ")
    assert message.endswith("; remove it, and write it again with `sgrnn resume same`")


def test_a_text_without_blanks_has_no_perplexity_per_word_and_more_bytes_than_characters(
    sgrnn: Commands, folder: Path
) -> None:
    for split in ("train", "valid", "test"):
        path = folder / "texts" / f"{split}.txt"
        path.write_text(path.read_text().replace(" ", "").replace("a", "\N{GREEK SMALL LETTER ALPHA}"))
    trained = sgrnn.well("train", "tiny.yaml", "--run", "mine", "--sample.prompt=b")
    output = sgrnn.well("evaluate", "mine", "--split", "valid")
    assert "word" not in output
    assert "word" not in sgrnn.well("compare", "mine")
    found = re.search(r"\n([\d.]+) bits per character, ([\d.]+) bits per byte, <unk> 0.00% of the tokens\n$", output)
    assert found is not None
    text = (folder / "texts" / "valid.txt").read_text()
    assert len(text.encode()) > len(text)
    assert float(found[2]) == pytest.approx(float(found[1]) * len(text) / len(text.encode()), abs=1e-4)
    shown = re.findall(r"([\d.]+) bits per character, ([\d.]+) per byte", trained)[-1]
    assert [float(each) for each in shown] == pytest.approx([float(found[1]), float(found[2])], abs=6e-4)


def test_a_figure_that_cannot_be_written_is_refused(sgrnn: Commands, mine: str) -> None:
    message = sgrnn.refused("compare", mine, "--output", "nowhere/both.png")
    assert message == "cannot write nowhere/both.png: No such file or directory; name another file with --output"
    message = sgrnn.refused("compare", mine, "--output", "both.jpg")
    assert message == "--output must end in .png, .svg or .pdf, got both.jpg"
