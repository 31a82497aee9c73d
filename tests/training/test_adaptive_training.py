"""Runs with an adaptive softmax: by every estimator, stopped and resumed, begun from, loaded, exported, refused."""

from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch

import sgrnn
from sgrnn.errors import InputError
from sgrnn.models.adaptive_softmax import AdaptiveSoftmax

from .tiny import RECIPE, Training, same

Start = Callable[..., Training]

ADAPTIVE = "--model.adaptive_softmax={cutoffs: [4, 7], div_value: 2}"
ONLINE = ("--model.dropout=0", "--training.max_updates=3", "--model.hidden_size=5")

ESTIMATORS = {
    "errors ahead": ("--gradient.ahead=null",),
    "constants": ("--gradient.synthesizer.kind=diagonal", "--gradient.synthesizer.rank=2"),
    "adjoint, windows as a batch": ("--gradient.synthesizer.kind=adjoint", "--gradient.parallel=true"),
    "perceptron": ("--gradient.synthesizer.kind=mlp", "--gradient.synthesizer.auxiliary=true"),
    "windows one by one": ("--gradient.low_memory=true",),
    "mixed": ("--gradient.source={kind: constant, share: 0.5}",),
    "control variate": ("--gradient.true_share=0.5", "--model.dropout=0"),
    "late": ("--gradient.delay=5", "--training.span=null", "--model.dropout=0"),
    "bptt": ("--gradient.kind=bptt",),
    "checkpointed": ("--gradient.kind=checkpointed", "--gradient.window=3"),
    "truncated": ("--gradient.kind=truncated",),
    "overlapping": ("--gradient.kind=truncated", "--gradient.window=9", "--gradient.every=6"),
    "exact": ("--gradient.kind=exact", "--model.dropout=0"),
    "rtrl": ("--gradient.kind=rtrl", *ONLINE),
    "snap1": ("--gradient.kind=snap1", *ONLINE),
    "uoro": ("--gradient.kind=uoro", *ONLINE),
    "bp_lambda": ("--gradient.kind=bp_lambda", "--gradient.learning_rate=0.01", *ONLINE),
}


@pytest.mark.parametrize("overrides", ESTIMATORS.values(), ids=ESTIMATORS)
def test_every_estimator_trains_it_and_goes_on_bit_for_bit(start: Start, overrides: tuple[str, ...]) -> None:
    options = ("--training.max_updates=4", *overrides, ADAPTIVE)
    whole, parts = start("whole", *options), start("parts", *options)
    whole()
    parts(2)
    parts()
    assert parts.metrics == whole.metrics
    assert same(parts.saved, whole.saved)


def test_a_run_is_loaded_begun_from_and_exported_as_it_is_scored(start: Start) -> None:
    training = start("old", ADAPTIVE, "--training.max_updates=9")
    training()
    folder = training.run.folder
    model, tokenizer = sgrnn.load(folder)
    assert isinstance(model.output, AdaptiveSoftmax)
    assert training.problem.score(model, "valid")["loss"] == training.metrics[-1]["valid_loss"]
    assert len(list(sgrnn.generate(model, [tokenizer.eos_id], 5, seed=0))) == 5
    unnamed = RECIPE.replace(", tokenizer: {kind: character}", "")
    new = start("new", ADAPTIVE, f"--model.start_from={folder}", "--optimizer.learning_rate=1e-30", recipe=unnamed)
    new()
    assert new.metrics[-1]["valid_loss"] == training.metrics[-1]["valid_loss"]
    check_export(model, folder / "exported", tokenizer)


def check_export(model: sgrnn.LanguageModel, folder: Path, tokenizer: object) -> None:
    sgrnn.export(model, folder, ["safetensors", "onnx", "torch"], tokenizer=tokenizer)  # pyright: ignore
    again, _ = sgrnn.load(folder)
    assert same(dict(again.state_dict()), dict(model.state_dict()))
    tokens, state = torch.arange(6).view(3, 2), model.initial_state(2)
    with torch.no_grad():
        expected = model.logits(model(tokens, state)[0])
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    found = session.run(None, dict(zip(names, (tokens.numpy(), *(each.numpy() for each in state)), strict=True)))[0]
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused_by_name(start: Start) -> None:
    fits = "adaptive_softmax"
    for overrides, message in (
        (("--model.adaptive_softmax={cutoffs: [4, 70], div_value: 2}",),
         "model.adaptive_softmax.cutoffs must be below the vocabulary's size, 10, got 70"),
        (("--model.adaptive_softmax={cutoffs: [7, 4]}",), "cutoffs must be one or more in increasing order, got [7,"),
        (("--model.adaptive_softmax={cutoffs: []}",), "model.adaptive_softmax.cutoffs must be one or more in"),
        (("--model.adaptive_softmax={cutoffs: [4, 7]}",),
         "model.adaptive_softmax.div_value leaves cluster 2 none of 12 features, got 4: make it or the number of "),
        ((ADAPTIVE, "--model.tied=true", "--model.embedding_size=12"),
         f"model.tied must be false with {fits}, which has no row for each token, got true"),
        ((ADAPTIVE, "--gradient.ahead=targets"),
         f"gradient.ahead must be model or null with model.{fits}, whose targets alone tell no part of the gradient"),
        ((ADAPTIVE, "--training.output_precision=bfloat16"),
         f"training.output_precision must be float32 with model.{fits}, got bfloat16"),
        ((ADAPTIVE, "--data.tokenizer.kind=bpe", "--data.tokenizer.vocabulary_size=300"),
         f"data.tokenizer.kind must be word or character with model.{fits}, whose clusters are of tokens ordered by "),
        ((ADAPTIVE, "--model.start_from=old"),
         f"data.tokenizer must be null with model.{fits} and model.start_from: a token's weights are those of its"),
    ):  # fmt: skip
        with pytest.raises(InputError) as refused:
            start("run", *overrides)
        assert message in str(refused.value)
