"""`sgrnn train` and `sgrnn resume`: what they leave and say, and what they refuse before anything is lost."""

import json
import os
import re
import resource
import sys
from pathlib import Path
from shutil import rmtree

import pytest
import torch

from sgrnn.training import room
from sgrnn.training.checkpoints import latest_checkpoint

from .commands import Commands, records_of, table_in


def files_of(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def models_of(folder: str) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in Path(folder).rglob("model.safetensors")}


def test_a_run_ends_with_its_perplexity_a_sample_its_place_and_what_to_try_next(sgrnn: Commands) -> None:
    output = sgrnn.well("train", "tiny.yaml")
    records = [json.loads(line) for line in Path("runs/tiny-1/metrics.jsonl").read_text().splitlines()]
    best = min(record["valid_perplexity"] for record in records if "valid_perplexity" in record)
    head, _, rest = output.partition("sample ")
    sample, _, end = rest.partition("\n")[2].partition("\n───")
    assert head.startswith("training runs/tiny-1: text, 208 tokens, vocabulary 10, estimator synthetic\n")
    assert re.search(r"R² -?[\d.]+  shrinkage [\d.]+  [\d,]+ tokens/s\n", head)
    assert len(sample) == len("a") + 30
    assert sample.startswith("a")
    assert f"validation perplexity {best:.2f} (best of 2 evaluations)" in end
    (measured,) = [record for record in records if "train_part_loss" in record]
    gap = min(record["valid_loss"] for record in records if "valid_loss" in record) - measured["train_part_loss"]
    train = f"train perplexity {measured['train_part_perplexity']:.2f}, scored alike: a gap of {gap:.2f} nats per token"
    assert train in end
    assert "the run lies in runs/tiny-1: metrics.jsonl, curves.png, tensorboard/, checkpoints/" in end
    assert end.endswith("next: sgrnn generate runs/tiny-1 --length 300\n")
    assert sgrnn.well("generate", "runs/tiny-1", "--length", 300)
    found = {path.name for path in Path("runs/tiny-1").iterdir()}
    files = {
        "recipe.yaml",
        "tokenizer",
        "fingerprint.json",
        "about.json",
        "metrics.jsonl",
        "scores.json",
        "tensorboard",
        "checkpoints",
        "curves.png",
    }
    assert found == files | {"lock", "scores.lock"}
    assert Path("runs/tiny-1/curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_same_command_again_makes_another_run_with_the_same_model(sgrnn: Commands, tiny: str) -> None:
    Path("runs").mkdir()
    Path(tiny).rename("runs/tiny-1")
    sgrnn.well("train", "tiny.yaml")
    assert models_of("runs/tiny-1") == models_of("runs/tiny-2") != {}


def test_overrides_reach_the_run_and_are_resolved_in_its_recipe(sgrnn: Commands) -> None:
    overrides = ("--gradient.window=2", "--training.seed", "7", "--training.max_updates=1")
    sgrnn.well("train", "tiny.yaml", "--run", "mine", *overrides, "--data", "elsewhere")
    written = sgrnn.well("recipes", "show", "mine/recipe.yaml")
    assert "  window: 2\n" in written
    assert "  seed: 7\n" in written
    assert Path("elsewhere/tokens").is_dir()
    assert not Path("data").exists()


def test_a_finished_run_can_be_resumed_in_vain_from_any_folder(
    sgrnn: Commands, folder: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, losses = files_of("tiny/checkpoints"), [record.get("valid_perplexity", 1e9) for record in records_of(tiny)]
    (folder / "other").mkdir()
    monkeypatch.chdir(folder / "other")
    again = sgrnn.well("resume", "../tiny", "--data", "../data")
    assert again.splitlines()[-4] == f"validation perplexity {min(losses):.2f} (best of 2 evaluations)"
    monkeypatch.chdir(folder)
    assert files_of("tiny/checkpoints") == before


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(sgrnn: Commands, mine: str) -> None:
    before = files_of("mine")
    assert sgrnn.refused("train", "tiny.yaml", "--run", mine, "--model.hidden_size=3").startswith(
        "mine already holds a run: go on with `sgrnn resume mine`, or name another folder with --run"
    )
    assert files_of("mine") == before


def test_recipe_errors_are_printed_all_at_once(sgrnn: Commands) -> None:
    path = Path("tiny.yaml")
    path.write_text(path.read_text().replace("window: 3", "windw: 3").replace("hidden_size: 12", "hidden_size: 0"))
    lines = sgrnn.refused("train", "tiny.yaml", "--training.epochs=0").splitlines()
    assert [line.split(" ")[0] for line in lines] == ["tiny.yaml:3:", "tiny.yaml:4:", "tiny.yaml:4:", "command"]
    assert "did you mean gradient.window?" in lines[2]
    assert not Path("runs").exists()


UNFIT = (
        ("--data.train=missing.txt", r"missing\.txt does not exist; expected a UTF-8 text file: check the path"),
        ("--data.train=texts", r"texts cannot be read: Is a directory; expected a UTF-8 text file"),
        ("--data.train=empty.txt", r"empty\.txt is empty; expected UTF-8 text"),
        ("--data.valid=binary.bin", r"binary\.bin is not text: a NUL byte at byte 2 "),
        ("--data.test=latin.txt", r"latin\.txt is not UTF-8: byte 0xe9 at byte 3 \(line 1\)"),
        ("--data.valid=unseen.txt", r"text valid holds the character 'é' \(U\+00E9\) in line 1, not among the 10"),
        ("--training.batch_size=40", r"text train is too short: its 208 tokens make 40 rows of 5 steps, fewer"),
        ("--sample.prompt=Zoe", r"the prompt holds the character 'Z' \(U\+005A\) in line 1, not among the 10 of the"),
        ("--model.hidden_size=1000000000000", r"the model cannot be built, its sizes are too large: .*model\.hidd"),
        (f"--model.embedding_size={10**18}", r"the model cannot be built, its sizes are too large: "),
        (f"--model.embedding_size={10**22}", r"model\.embedding_size must be below 9,223,[0-9,]+, got 10{22}"),
        ("--training.threads=99999999999", r"training\.threads must be less than or equal to 1024, got 99999999999"),
        ("--data.tokenizer={kind: bpe, vocabulary_size: 9999999999}", "SentencePiece could not learn 9,999,999,999"),
        ("--data.tokenizer.kind=bpe", r"data\.tokenizer: bpe needs vocabulary_size"),
        ("--data.corpus=ptb", r"data\.train is for corpus text, not ptb"),
)  # fmt: skip


def test_what_cannot_be_trained_on_is_refused_before_a_folder_is_made(sgrnn: Commands) -> None:
    Path("empty.txt").write_text(" \n")
    Path("binary.bin").write_bytes(b"ab\x00cd")
    Path("latin.txt").write_bytes("café\n".encode("latin-1"))
    Path("unseen.txt").write_text("é\n")
    for override, expected in UNFIT:
        assert re.search(expected, sgrnn.refused("train", "tiny.yaml", "--run", "mine", override))
        assert not Path("mine").exists()


def test_a_model_larger_than_memory_is_refused(sgrnn: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_memory", lambda: 1 << 20)
    message = sgrnn.refused("train", "tiny.yaml", "--run", "mine", "--model.hidden_size=300")
    assert re.match(
        r"the model has \d{3},\d{3} parameters, 0 GiB, more than the memory of this machine, 0 GiB: ", message
    )
    assert not Path("mine").exists()
    sgrnn.well("train", "tiny.yaml", "--run", "mine", "--training.max_updates=1")


def test_words_without_blanks_are_named_where_they_make_a_text_too_short(sgrnn: Commands) -> None:
    Path("dna.txt").write_text("ACGT" * 500 + "\n")
    files = [f"--data.{split}=dna.txt" for split in ("train", "valid", "test")]
    message = sgrnn.refused("train", "tiny.yaml", *files, "--data.tokenizer.kind=word", "--sample.prompt=")
    assert re.match(r"text train is too short: its 2 tokens make 4 rows of 0 steps, ", message)
    assert message.endswith(
        "; its tokens are 1,000 characters long on average: for a text without blanks set data.tokenizer.kind to "
        "character or bpe"
    )


def test_a_gpu_is_trained_on_where_there_is_one_and_refused_where_not(sgrnn: Commands) -> None:
    command = ("train", "tiny.yaml", "--training.device=cuda", "--run", "mine")
    if torch.cuda.is_available():
        assert "validation perplexity" in sgrnn.well(*command)
        return
    assert sgrnn.refused(*command) == (
        "training.device must be cpu or auto on this machine, got cuda, which it does not have"
    )
    assert not Path("mine").exists()


def test_a_published_corpus_that_is_missing_is_refused_with_the_way_to_get_it(sgrnn: Commands) -> None:
    assert "sgrnn data fetch ptb" in sgrnn.refused("train", "ptb-word-small")
    assert not Path("runs").exists()


def test_a_run_folder_that_cannot_be_made_is_refused(sgrnn: Commands) -> None:
    Path("file").write_text("in the way")
    message = sgrnn.refused("train", "tiny.yaml", "--run", "file/below")
    assert message.startswith("cannot create the run folder file/below: ")
    assert message.endswith("; name another with --run")


def test_a_run_folder_whose_name_is_no_utf_8_is_refused_before_it_is_made(sgrnn: Commands, folder: Path) -> None:
    message = sgrnn.refused("train", "tiny.yaml", "--run", os.fsdecode(b"caf\xe9"))
    assert message == "a run's name must be UTF-8, got 'caf\\udce9': name another"
    assert not list(folder.glob("caf*"))


def test_a_folder_without_a_run_is_refused(sgrnn: Commands) -> None:
    for command in ("resume", "evaluate", "generate", "compare"):
        for folder in ("nowhere", "texts"):
            assert sgrnn.refused(command, folder) == (
                f"{folder} holds no run: expected {folder}/recipe.yaml, which a run begins by writing"
            )


def test_a_run_that_never_saved_is_refused_where_a_model_is_needed_and_resumed_from_its_start(
    sgrnn: Commands, tiny: str
) -> None:
    sgrnn.refused("train", "tiny.yaml", "--run", "mine", "--optimizer.learning_rate=3e38", "--optimizer.kind=adamw")
    for command in ("evaluate", "generate"):
        assert sgrnn.refused(command, "mine") == "mine has no checkpoint yet: go on with `sgrnn resume mine`"
    recipe = Path("mine/recipe.yaml")
    recipe.write_text(Path(tiny, "recipe.yaml").read_text())
    sgrnn.well("resume", "mine")
    assert models_of("mine") == models_of(tiny)


UNEVALUATED = "has no evaluation yet: the first is at the end of an epoch, or after training.evaluate_every updates"


def test_a_run_that_was_not_evaluated_yet_is_shown_as_far_as_it_is(sgrnn: Commands, mine: str, tiny: str) -> None:
    path = Path("mine/metrics.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    rmtree("mine/checkpoints")
    Path("mine/checkpoints").mkdir()
    for logged, epochs in ((0, ""), (1, "0.333"), (2, "0.667")):
        path.write_text("".join(lines[:logged]))
        output = sgrnn.well("compare", mine, tiny)
        assert f"mine {UNEVALUATED}\n" in output
        row = table_in(output)["mine"]
        assert (row["estimator"], row["loss"], row["perplexity"], row["epochs"]) == ("synthetic 3", "", "", epochs)
    for logged in (0, 2):
        path.write_text("".join(lines[:logged]))
        assert f"mine {UNEVALUATED}\n" in sgrnn.well("compare", mine)
        assert f"mine {UNEVALUATED}\n" in sgrnn.well("report", mine)
        assert UNEVALUATED in Path("report.html").read_text("utf-8")


def resumed(sgrnn: Commands, schedule: str, before: str, after: str) -> str:
    """What is said on the second stream when a run goes on with another number of epochs."""
    sgrnn.well("train", "tiny.yaml", "--run", "mine", "--training.max_updates=null", before, *schedule.split())
    outcome = sgrnn("resume", "mine", after)
    assert outcome.status == 0
    return outcome.err


def test_a_learning_rate_that_jumps_when_a_run_is_lengthened_is_named(sgrnn: Commands) -> None:
    cosine = "--schedule.kind=cosine --optimizer.learning_rate=0.01"
    said = resumed(sgrnn, cosine, "--training.epochs=2", "--training.epochs=4")
    assert said == (
        "the learning rate goes from 7.6e-05 to 0.005: the schedule cosine is now laid out over 4 epochs "
        "(training.epochs), before over 2\n"
    )
    rates = [json.loads(line).get("learning_rate") for line in Path("mine/metrics.jsonl").read_text().splitlines()]
    assert max(rate for rate in rates[-8:] if rate) <= 0.005


@pytest.mark.parametrize(
    ("schedule", "after"),
    [("--schedule.kind=cosine", "--training.epochs=2"), ("--schedule.kind=plateau", "--training.epochs=3")],
)
def test_a_learning_rate_that_does_not_depend_on_the_length_is_not_spoken_of(
    sgrnn: Commands, schedule: str, after: str
) -> None:
    assert resumed(sgrnn, schedule, "--training.epochs=2", after) == ""


def test_all_files_of_a_run_can_be_read_by_whom_the_umask_lets(sgrnn: Commands) -> None:
    mask = 0o002
    before = os.umask(mask)
    try:
        sgrnn.well("train", "tiny.yaml", "--run", "mine", "--data", "data", "--training.max_updates=3")
        sgrnn.well("report", "mine")
        sgrnn.well("recipes", "copy", "quickstart", "copied.yaml")
    finally:
        os.umask(before)
    made = [path for top in ("mine", "data") for path in Path(top).rglob("*") if path.is_file()]
    for path in [*made, Path("report.html"), Path("copied.yaml")]:
        if path.name != "lock":  # which nobody reads
            assert path.stat().st_mode & 0o777 == 0o666 & ~mask, path


def test_divergence_ends_with_the_update_and_the_field(sgrnn: Commands) -> None:
    message = sgrnn.refused("train", "tiny.yaml", "--optimizer.kind=sgd", "--optimizer.learning_rate=1e30")
    assert re.match(
        r"the (loss|norm of the gradient) is (nan|inf) at update \d+: training has diverged; lower opti", message
    )


def test_a_text_behind_a_link_may_move_where_the_link_moves_with_it(sgrnn: Commands) -> None:
    Path("store").mkdir()
    Path("texts/train.txt").rename("store/first.txt")
    Path("texts/train.txt").symlink_to("../store/first.txt")
    sgrnn.well("train", "tiny.yaml", "--run", "mine", "--training.max_updates=3")
    Path("store").rename("shelf")
    Path("texts/train.txt").unlink()
    Path("texts/train.txt").symlink_to("../shelf/first.txt")
    sgrnn.well("resume", "mine", "--training.max_updates=4")


def test_another_text_is_refused_and_nothing_lost(sgrnn: Commands) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "mine", "--training.max_updates=3")
    before = files_of("mine/checkpoints")
    text = Path("texts/train.txt").read_text()
    Path("texts/train.txt").write_text(text.swapcase())
    assert "text train holds the character" in sgrnn.refused("resume", "mine")
    Path("texts/train.txt").write_text(text[::-1])
    for command in ("resume", "evaluate"):
        assert sgrnn.refused(command, "mine") == (
            "the text is not the one that mine was trained on: what it is to train on has changed; restore the files"
        )
    assert files_of("mine/checkpoints") == before
    Path("texts/train.txt").write_text(text)
    sgrnn.well("resume", "mine")


def test_a_damaged_checkpoint_is_refused(sgrnn: Commands, tiny: str) -> None:
    (folder,) = Path(tiny, "checkpoints").iterdir()
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for command in ("resume", "evaluate", "generate"):
        assert sgrnn.refused(command, tiny).startswith(
            f"the checkpoint {folder} is damaged: model.safetensors: expected sha256:"
        )


@pytest.mark.parametrize(
    ("limit", "checkpoint_every", "refused"),
    [
        (300, 2, r"cannot write the encoded text below fresh/tokens: "),
        (1_200, 2, r"cannot create the run folder mine: "),
        # TensorBoard's file is refused first; what was learned is to be saved none the less, and cannot be either
        (2_000, 1000, r"cannot write the checkpoint mine/checkpoints/update-0+\d: "),
        (2_000, 2, r"cannot write the checkpoint mine/checkpoints/update-000000002: "),
        (9_000, 2, r"cannot write the checkpoint mine/checkpoints/update-000000002: "),
        (50_000, 2, r"cannot write mine/curves\.png: "),
    ],
)
def test_whatever_a_full_disk_refuses_nothing_is_lost(
    sgrnn: Commands, tiny: str, limit: int, checkpoint_every: int, refused: str
) -> None:
    options = ("--training.log_every=1", f"--training.checkpoint_every={checkpoint_every}")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # the operating system refuses to write more to a file
    try:
        message = sgrnn.refused("train", "tiny.yaml", "--run", "mine", *options, "--data", "fresh")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert re.match(rf"{refused}.*File too large", message)
    assert "\n" not in message
    if "sgrnn resume mine" in message:
        latest_checkpoint(Path("mine/checkpoints"))  # whole, if there is one
        sgrnn.well("resume", "mine")
    else:
        sgrnn.well("train", "tiny.yaml", "--run", "mine", *options)
    assert models_of("mine") == models_of(tiny)


def test_a_logger_that_is_not_installed_is_refused_before_a_folder_is_made(
    sgrnn: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    sgrnn.well("train", "tiny.yaml", "--run", "first", "--training.max_updates=1")  # imports all that it needs
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    message = sgrnn.refused("train", "tiny.yaml", "--run", "mine", "--training.loggers=[tensorboard, mlflow]")
    assert message == "training.loggers: mlflow is not installed; pip install 'sgrnn[mlflow]'"
    assert not Path("mine").exists()
    for value, expected in (
        ("[tensorbord]", "must be 'tensorboard', 'wandb' or 'mlflow', got 'tensorbord'; did you mean tensorboard?"),
        ("[wandb, wandb]", "must name each logger once, got wandb, wandb"),
    ):
        assert sgrnn.refused("train", "tiny.yaml", f"--training.loggers={value}").endswith(expected)


def test_a_path_at_home_that_the_shell_leaves_alone_is_found_there(
    sgrnn: Commands, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path.cwd()
    monkeypatch.setenv("HOME", str(here))
    assert sgrnn.refused("train", "~/tiny.yaml", f"--run=~/{tiny}").startswith(f"{here}/{tiny} already holds a run")
    assert sgrnn.well("evaluate", f"~/{tiny}", "--text=~/texts/test.txt").startswith(f"{here}/texts/test.txt: ")
    space = sgrnn.refused("sweep", "tiny.yaml", "--space=~/space.yaml", "--study=~/study")
    assert space.startswith(f"cannot read the space {here}/space.yaml")
    assert not Path("~").exists()
