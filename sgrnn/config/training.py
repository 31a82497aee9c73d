"""The sections `training` and `sample`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from sgrnn.config.section import Section, Share

Logger = Literal["tensorboard", "wandb", "mlflow"]


def _once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError(f"must name each logger once, got {', '.join(names)}")
    return names


class DiagnosisConfig(Section):
    """Metrics that cost more than an update, measured now and then (`sgrnn.diagnostics`)."""

    every: PositiveInt
    """Updates between two diagnoses."""
    horizon: PositiveInt = 20
    """Steps ahead that the true gradient reaches."""
    spans: Annotated[int, Field(ge=2)] = 20
    """Number of next spans over which the metrics are averaged."""


class VaryingSpanConfig(Section):
    """Spans whose lengths are drawn (Merity et al. 2018): around `training.span`, now and then around half of it."""

    base_probability: Share = 0.95
    """Probability of a length around `training.span`, and not around half of it."""
    deviation: PositiveFloat = 5.0
    """Standard deviation of the length."""
    least: PositiveInt = 5
    """Least length, but for what is left at the end of the text."""


class TrainingConfig(Section):
    """Length of the training, size of its updates, and what is logged and kept."""

    epochs: PositiveInt
    """Times that the text is gone through; of a task, evaluations."""
    batch_size: PositiveInt = 20
    """Rows of a span: text is laid out as so many streams side by side."""
    span: PositiveInt | None = None
    """Steps between two updates; null for 20 of a text, and for a whole episode of a task."""
    varying_span: VaryingSpanConfig | None = None
    """Draw the length of every span of a text, and scale the model's learning rate with it; null for spans of one
    length. An epoch is then as many updates as the text has spans on average."""
    max_updates: PositiveInt | None = None
    """Stop after so many updates, whatever `epochs` says."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the first parameters, of dropout and of a task's episodes; below 2**32 - 2 in a new run."""
    output_precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the output layer's matrix products; parameters and states stay float32."""
    core_precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the core's matrix products; parameters and states stay float32."""
    clip: PositiveFloat | None = 1.0
    """Largest norm of the model's gradient; null for no limit."""
    synthesizer_clip: PositiveFloat | None = None
    """Largest norm of the synthesizer's gradient, which is clipped by itself; null for no limit."""
    patience: PositiveInt | None = None
    """Stop when the validation loss has not improved for so many epochs, by the evaluations at their ends; of a task
    that grows, length and loss."""
    log_every: PositiveInt = 50
    """Updates between two lines of the log."""
    evaluate_every: PositiveInt | None = None
    """Updates between two evaluations on the valid split, besides the one at the end of each epoch. Of all of them the
    best is kept as a checkpoint, which is written as often as one is better than those before."""
    diagnosis: DiagnosisConfig | None = None
    """Log now and then how far the gradients are from the true ones; null for never."""
    loggers: Annotated[list[Logger], AfterValidator(_once)] = Field(["tensorboard"])
    """Services that get the record, too, which is always in metrics.jsonl; Weights & Biases and MLflow need the extras
    `sgrnn[wandb]` and `sgrnn[mlflow]`."""
    checkpoint_every: PositiveInt = 1000
    """Updates between two checkpoints, besides the one at the end of each epoch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train on; `auto` is a GPU where there is one."""
    threads: Annotated[int, Field(gt=0, le=1024)] | None = None
    """Threads of each process on a CPU; null for what OMP_NUM_THREADS says, and where that is not set for one thread of
    a small model, up to 20 million multiply-adds a step (rows times weights), and all there are of a larger one."""


class SampleConfig(Section):
    """The text generated when training ends."""

    prompt: str = ""
    """Text that the model reads first."""
    length: NonNegativeInt = 100
    """Tokens to generate; 0 for none."""
    temperature: NonNegativeFloat = 0.8
    """Temperature; 0 takes the likeliest token each time."""
