"""The texts, estimators and models that `quality.py` compares, as a recipe and overrides of it."""

from typing import NamedTuple

from frame import COMPARED, LARGE, Condition, Record

from sgrnn.config.files import parse_recipe
from sgrnn.config.recipe import Recipe

SPAN = 20
WORDS = """
data: {corpus: ptb, tokenizer: {kind: word}}
model: {core: lstm, hidden_size: 200}
gradient: {kind: truncated, window: 20}
optimizer: {kind: adam}
training: {epochs: 1, batch_size: 20, span: 20, clip: 1.0, output_precision: bfloat16}
"""
CHARACTERS = [
    "--data.corpus=ptb-char", "--data.tokenizer.kind=character", "--model.hidden_size=128", "--training.batch_size=64",
    "--training.output_precision=float32",
]  # fmt: skip
HALVED = ["--schedule.kind=step", "--schedule.factor=0.5"]


class Task(NamedTuple):
    """A text and how long it is learned.

    Args:
        name: what tables call the number that counts.
        rate: learning rate.
        digits: that tables have after the point.
        overrides: of the recipe of words.
    """

    name: str
    rate: float
    digits: int
    overrides: list[str]

    @property
    def figure(self) -> str:
        """Name of the task's metric in the log."""
        return self.name.replace("validation", "valid").replace(" ", "_")


PERPLEXITY, BITS = "validation perplexity", "validation bits per character"
TASKS = {
    "words": Task(PERPLEXITY, 4e-3, 2, []),
    "characters": Task(BITS, 2e-3, 4, CHARACTERS),
    "words to convergence": Task(PERPLEXITY, 20.0, 2, [
        "--model.num_layers=2", "--model.initial_range=0.1", "--optimizer.kind=sgd", *HALVED, "--schedule.after=4",
        "--training.epochs=13", "--training.clip=0.25",
    ]),
    "characters to convergence": Task(BITS, 2e-3, 4, [
        *CHARACTERS, *HALVED, "--schedule.after=6", "--training.epochs=12"
    ]),
}  # fmt: skip
SYNTHETIC, OF = ["--gradient.kind=synthetic", "--gradient.ahead=model"], "--gradient.synthesizer."
LARGER = [*SYNTHETIC, *(f"{OF}{name}={value}" for name, value in LARGE.items())]
LIGHT = [*SYNTHETIC, f"{OF}hidden_size=64", f"{OF}rank=16", f"{OF}projection=32", f"{OF}near=2"]
ESTIMATORS = {
    **COMPARED,
    "synthetic, large": LARGER,
    "grounded": [*LARGER, "--gradient.ground_every=4", "--gradient.ground_window={longer}"],
    "control variate": [*LARGER, "--gradient.true_share=0.25"],
    "adjoint": ["--gradient.kind=synthetic", "--gradient.synthesizer.kind=adjoint"],
    "lambda 0.5": [*LARGER, "--gradient.trace_decay=0.5"],
    "exact ahead": ["--gradient.kind=exact", "--gradient.lookahead=8"],
    "light": [*LIGHT, f"{OF}lookahead=2"],
    "light, one ahead": [*LIGHT, f"{OF}lookahead=1"],
}
SHAPES = {
    "base": [],
    "two layers": ["--model.num_layers=2"],
    "GRU": ["--model.core=gru"],
    "RNN": ["--model.core=rnn"],
    "100 units": ["--model.hidden_size=100"],
    "512 units, embedding 64": ["--model.hidden_size=512", "--model.embedding_size=64"],
    "650 units": ["--model.hidden_size=650"],
    "batch 10": ["--training.batch_size=10"],
    "batch 128": ["--training.batch_size=128"],
    "dropout": ["--model.dropout=0.2"],
    "SGD": ["--optimizer.kind=sgd", "--training.clip=0.25"],
    "Muon": ["--optimizer.kind=muon"],
    "pieces": ["--data.tokenizer.kind=unigram", "--data.tokenizer.vocabulary_size=5000"],
}


def own_rate(task: str, shape: str) -> float:
    """Return the learning rate of a task; the shape SGD has another optimizer's."""
    return 20.0 if shape == "SGD" else TASKS[task].rate


def recipe_of(fields: Record, parallel: str = "true") -> Recipe:
    """Return a task's recipe in a shape, with an estimator; its windows as one batch, or with null where faster."""
    task, window = fields["task"], fields["window"]
    span = max(SPAN, window)
    overrides = [*TASKS[task].overrides, *SHAPES[fields["shape"]]]
    overrides += [override.format(longer=min(4 * window, span)) for override in ESTIMATORS[fields["estimator"]]]
    overrides += [f"--optimizer.learning_rate={fields['learning_rate']}", f"--gradient.window={window}"]
    overrides += [f"--gradient.parallel={parallel}", f"--training.seed={fields['seed']}", f"--training.span={span}"]
    if fields["quick"]:
        overrides += ["--training.max_updates=232"]
    elif "convergence" not in task:
        overrides += ["--training.evaluate_every=500"]
    return parse_recipe(WORDS, Condition(fields).name, overrides=overrides)
