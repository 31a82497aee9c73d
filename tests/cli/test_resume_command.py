"""`sgrnn resume` with other fields, under other versions, and without what the run was trained on."""

import json
from pathlib import Path

import torch

from sgrnn import __version__
from sgrnn.data.atomic import file_digest, json_digest
from sgrnn.training.run import Run

from .commands import Commands, records_of
from .test_training_commands import files_of, models_of

LONGER = ("--training.max_updates=14", "--training.patience=3", "--training.log_every=2")


def test_a_run_that_has_ended_goes_on_where_it_is_made_longer(sgrnn: Commands) -> None:
    """To the weights that it would have had, had it been so long from the beginning."""
    sgrnn.well("train", "tiny.yaml", "--run", "mine", "--training.max_updates=9")  # an epoch
    assert "update 14" not in sgrnn.well("resume", "mine")
    output = sgrnn.well("resume", "mine", *LONGER)
    assert (
        "from update 9 on: training.max_updates 14 (before: 9), training.patience 3 (before: null), "
        "training.log_every 2 (before: 3)\n"
    ) in output
    assert "on: " not in sgrnn.well("resume", "mine"), "nothing has changed since"
    sgrnn.well("train", "tiny.yaml", "--run", "whole", *LONGER)
    latest = "update-000000014"
    assert models_of("mine")[latest] == models_of("whole")[latest]
    assert Run.open(Path("mine")).recipe == Run.open(Path("whole")).recipe
    assert [record["update"] for record in records_of("mine")] == [3, 6, 9, 9, 9, 10, 12, 14, 14, 14]


def test_a_run_of_before_targets_is_evaluated_and_goes_on_with_the_model_run_ahead(sgrnn: Commands) -> None:
    for name, updates in (("mine", 9), ("whole", 14)):
        ahead = ("--gradient.ahead=model", f"--training.max_updates={updates}")
        sgrnn.well("train", "tiny.yaml", "--run", name, *ahead)
    (checkpoint,) = Path("mine").glob("checkpoints/*")
    for recipe in (Path("mine/recipe.yaml"), checkpoint / "recipe.yaml"):
        recipe.write_text(recipe.read_text().replace("  ahead: model\n", ""))
    progress = json.loads((checkpoint / "progress.json").read_text())
    progress["files"]["recipe.yaml"] = file_digest(checkpoint / "recipe.yaml")
    del progress["digest"]
    (checkpoint / "progress.json").write_text(json.dumps({**progress, "digest": json_digest(progress)}))
    assert "perplexity" in sgrnn.well("evaluate", "mine")
    output = sgrnn.well("resume", "mine", "--training.max_updates=14")
    assert "from update 9 on: training.max_updates 14 (before: 9)\n" in output
    latest = "update-000000014"
    assert models_of("mine")[latest] == models_of("whole")[latest]


def test_what_a_run_keeps_is_refused_by_name_and_nothing_written(sgrnn: Commands, tiny: str) -> None:
    before = files_of(tiny)
    message = sgrnn.refused("resume", tiny, "--model.hidden_size=13", "--training.epochs=200", "--training.seed", 4)
    assert message.splitlines() == [
        "tiny: model.hidden_size must stay 12 in a run that goes on, got 13: the saved weights are those of this "
        "model; begin a new run",
        "tiny: training.seed must stay 0 in a run that goes on, got 4: what was drawn so far came from it; begin a new "
        "run, from these weights with --model.start_from=tiny",
    ]
    recipe = Path(tiny, "recipe.yaml")
    kept = recipe.read_text()
    recipe.write_text(kept.replace("hidden_size: 12", "hidden_size: 13"))
    outcome = sgrnn("resume", tiny)
    assert (outcome.status, "from update" in outcome.out) == (2, False), "nothing is promised before it is refused"
    recipe.write_text(kept)
    assert sgrnn.refused("resume", tiny, "--training.epochs=0").startswith("command line: training.epochs must be gr")
    assert "did you mean --data?" in sgrnn.refused("resume", tiny, "--dta=x")
    refused = sgrnn.refused("resume", tiny, "--data.train=gone.txt", "--training.max_updates=20")
    assert refused == (
        f"tiny needs its text: {Path.cwd() / 'gone.txt'} does not exist; expected a UTF-8 text file: check the path; "
        "where it lies elsewhere now: `sgrnn resume tiny --data.train=PATH`"
    )
    if not torch.cuda.is_available():
        assert "must be cpu" in sgrnn.refused("resume", tiny, "--training.device=cuda", "--training.max_updates=20")
    after = files_of(tiny)
    changed = {name for name in after if after[name] != before.get(name)}
    assert {Path(name).parts[1] for name in changed} <= {"lock", "tensorboard"}


def test_commands_in_messages_quote_a_folder_whose_name_holds_blanks(sgrnn: Commands) -> None:
    train = ("train", "tiny.yaml", "--run", "my run", "--training.max_updates=2", "--training.loggers=[]")
    sgrnn.well(*train)
    assert "go on with `sgrnn resume 'my run'`, or name" in sgrnn.refused(*train)
    sgrnn.well("resume", "my run", "--training.max_updates=3")
    Path("my run/checkpoints/update-000000003").rename("aside")
    assert "go on with `sgrnn resume 'my run'`" in sgrnn.refused("generate", "my run")


def test_damaged_scores_are_refused_before_anything_is_trained(sgrnn: Commands, tiny: str) -> None:
    for damaged in (
        "{",
        '{"train-part": 5}',
        '{"train-part": {}}',
        '{"test": {"update": 8, "loss": "1.5"}}',
        '{"test": {"update": 8}}',
    ):
        Path(tiny, "scores.json").write_text(damaged)
        before = files_of(tiny)
        assert "scores.json is damaged: " in sgrnn.refused("resume", tiny, "--training.max_updates=20")
        assert files_of(tiny) == before


def test_a_text_that_was_moved_is_named_and_found_again(sgrnn: Commands) -> None:
    tiny = "tiny"
    sgrnn.well("train", "tiny.yaml", "--run", tiny, "--training.max_updates=2")
    Path("texts").rename("elsewhere")
    for command in ("resume", "evaluate"):
        message = sgrnn.refused(command, tiny)
        assert message.startswith(f"tiny needs its text: {Path.cwd() / 'texts' / 'train.txt'} does not exist; ")
        assert "`sgrnn resume tiny --data.train=PATH --data.valid=PATH --data.test=PATH`" in message
    moved = [f"--data.{split}=elsewhere/{split}.txt" for split in ("train", "valid", "test")]
    sgrnn.well("resume", tiny, *moved)
    sgrnn.well("evaluate", tiny)
    Path("elsewhere/train.txt").write_text(Path("elsewhere/train.txt").read_text()[::-1].strip() + "\n")
    assert sgrnn.refused("resume", tiny, *moved).startswith("the text is not the one that tiny was trained on")


def test_another_learning_rate_is_taken_and_said(sgrnn: Commands, tiny: str) -> None:
    outcome = sgrnn("resume", tiny, "--optimizer.learning_rate=0.002", "--training.max_updates=12")
    assert outcome.status == 0
    assert outcome.err == (
        "the learning rate goes from 0.01 to 0.002: optimizer.learning_rate or schedule was changed\n"
    )  # fmt: skip
    assert [record["learning_rate"] for record in records_of(tiny) if "learning_rate" in record][-1] == 0.002


def test_the_fingerprint_says_by_what_and_where_a_run_was_trained(sgrnn: Commands, tiny: str) -> None:
    path = Path(tiny, "fingerprint.json")
    written = json.loads(path.read_text())
    (began,) = written["conditions"]
    assert began["command"] == "sgrnn train tiny.yaml --run tiny"
    assert began["update"] == 0
    assert (began["sgrnn"], began["torch"], began["device"]) == (__version__, str(torch.__version__), "cpu")
    assert (began["threads"], began["processes"]) == (torch.get_num_threads(), 1)
    assert {"time", "commit", "python", "numpy", "platform"} < began.keys()
    assert list(written["texts"]) == ["train", "valid", "test"]
    assert Run.open(Path(tiny)).fingerprint() == written
    sgrnn.well("resume", tiny, "--training.max_updates=11")
    assert json.loads(path.read_text()) == written, "the same conditions"
    began |= {"torch": "2.9.1", "sgrnn": "0.0.7"}
    path.write_text(json.dumps(written))
    outcome = sgrnn("resume", tiny, "--training.max_updates=12")
    assert outcome.status == 0
    assert outcome.err == (
        f"trained so far by sgrnn 0.0.7, now {__version__} and torch 2.9.1, now {torch.__version__}: what follows is "
        "not bit for bit what it would have been\n"
    )
    first, second = json.loads(path.read_text())["conditions"]
    assert first == began
    assert (second["update"], second["sgrnn"], second["torch"]) == (11, __version__, str(torch.__version__))
    assert sgrnn("resume", tiny).err == ""


def test_a_run_of_a_version_with_other_fields_is_refused_in_one_line(sgrnn: Commands, tiny: str) -> None:
    recipe, fingerprint = Path(tiny, "recipe.yaml"), Path(tiny, "fingerprint.json")
    recipe.write_text(recipe.read_text().replace("gradient:", "policy:").replace("core:", "cell:"))
    sessions = json.loads(fingerprint.read_text())
    assert len(sgrnn.refused("resume", tiny).splitlines()) > 1, "edited by hand: all mistakes"
    sessions["conditions"][0]["sgrnn"] = "0.0.7"
    fingerprint.write_text(json.dumps(sessions))
    for version in ("0.0.7", "an older one"):
        for command in ("resume", "evaluate", "generate"):
            message = sgrnn.refused(command, tiny)
            assert message.startswith(
                f"tiny is a run of another version of sgrnn, {version}, whose recipe this version, {__version__}, "
                "cannot read: tiny/recipe.yaml"
            )
            assert message.endswith("; open it with that version, or begin a new run")
            assert "\n" not in message
        fingerprint.unlink(missing_ok=True)


def test_a_checkpoint_of_another_format_is_refused_in_one_line(sgrnn: Commands, tiny: str) -> None:
    (progress,) = Path(tiny).glob("checkpoints/*/progress.json")
    progress.write_text(progress.read_text().replace("sgrnn checkpoint 1", "sgrnn checkpoint 7"))
    for command in ("resume", "evaluate", "generate"):
        message = sgrnn.refused(command, tiny)
        assert message.endswith("got 'sgrnn checkpoint 7'; open it with the version that wrote it, or begin a new run")
        assert "\n" not in message


def test_a_prompt_that_the_tokenizer_cannot_read_is_refused_before_anything_is_trained(
    sgrnn: Commands, tiny: str
) -> None:
    before = files_of(tiny)
    message = sgrnn.refused("resume", tiny, "--training.max_updates=20", "--sample.prompt=Zoe")
    assert message.startswith("the prompt holds the character 'Z'")
    assert files_of(tiny) == before
