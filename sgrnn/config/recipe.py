"""A whole recipe: its sections, and what none of them can see by itself."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)
from pydantic import model_validator as check

from sgrnn.config.data import Data
from sgrnn.config.gradient import (
    AdjointSynthesizer,
    Alternate,
    AtRestarts,
    ConstantSource,
    ExactAhead,
    Gradient,
    Ramp,
    SyntheticGradients,
)
from sgrnn.config.optimization import Adam, Constant, Optimizer, Restarts, Schedule
from sgrnn.config.section import Fraction, Section
from sgrnn.config.tasks import Task


class Level(Section):
    """A level of a hierarchy above the fastest, of the model's kind of core."""

    hidden_size: PositiveInt
    period: PositiveInt
    """It ticks at every so many steps."""
    message_size: PositiveInt | None = None
    """Features of what it tells the level below; null for all it says."""
    interface: bool = False
    """Whether what it reads comes through an interface, which gives the level below a synthetic gradient for it."""


class Model(Section):
    """Embedding, core, output layer."""

    core: Literal["lstm", "gru", "rnn"] = "lstm"
    hidden_size: PositiveInt
    num_layers: PositiveInt = 1
    slower_levels: tuple[Level, ...] = ()
    """Above this core, which ticks at every step: it makes a hierarchy."""
    embedding_size: PositiveInt | None = None
    """`hidden_size` if left out."""
    tied: bool = False
    dropout: Fraction = 0.0
    """On embeddings, between layers and on the last layer's outputs."""
    initial_range: PositiveFloat | None = None
    """All parameters are drawn uniformly from plus or minus this; left out, torch's defaults (embedding: 0.1)."""

    @field_validator("slower_levels")
    @classmethod
    def _periods_do_not_decrease(cls, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        for below, level in pairwise(levels):
            if level.period < below.period:
                raise ValueError(f"periods must not decrease from level to level, got {below.period}, {level.period}")
        return levels

    @check(mode="after")
    def _sizes_fit(self) -> Self:
        if self.slower_levels and self.num_layers > 1:
            raise ValueError(f"num_layers must be 1 below slower_levels, got {self.num_layers}")
        if self.tied and self.embedding_size not in (None, self.hidden_size):
            raise ValueError(
                f"tied needs embedding_size to be hidden_size, {self.hidden_size}, got {self.embedding_size}"
            )
        return self


class Diagnosis(Section):
    """Figures that cost more than an update, measured now and then (`sgrnn.diagnostics`)."""

    every: PositiveInt
    """Updates."""
    horizon: PositiveInt = 20
    """Steps ahead that the true gradient is followed."""
    spans: Annotated[int, Field(ge=2)] = 20
    """That figures are averaged over: the next ones."""


class Training(Section):
    """How long, how much at once, and what is kept."""

    epochs: PositiveInt
    batch_size: PositiveInt = 20
    span: PositiveInt | None = None
    """Steps between two updates; null for 20 of a text, and for a whole episode of a task."""
    max_updates: PositiveInt | None = None
    """Stop after so many updates, whatever `epochs` says."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: of the output layer's matrix products; parameters and states stay float32."""
    core_precision: Literal["float32", "bfloat16"] = "float32"
    """The same of the core's."""
    clip: PositiveFloat | None = 1.0
    """Largest norm of the model's gradient; null for no limit."""
    synthesizer_clip: PositiveFloat | None = None
    """Largest norm of the synthesizer's gradient, which is clipped by itself; null for no limit."""
    patience: PositiveInt | None = None
    """Stop when the validation loss has not improved for so many epochs, by the evaluations at their ends; of a task
    that grows, length and loss."""
    log_every: PositiveInt = 50
    evaluate_every: PositiveInt | None = None
    """Updates between two evaluations on the valid split, besides the one at the end of each epoch. Of all of them the
    best is kept as a checkpoint, which is written as often as one is better than those before."""
    diagnosis: Diagnosis | None = None
    """Log now and then how far the gradients are from the true ones; null for never."""
    checkpoint_every: PositiveInt = 1000
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: PositiveInt | None = None
    """Threads of each process on a CPU; null for what OMP_NUM_THREADS says, and where that is not set for one thread of
    a small model, up to 20 million multiply-adds a step (rows times weights), and all there are of a larger one."""


class Sample(Section):
    """The text generated when training ends."""

    prompt: str = ""
    length: NonNegativeInt = 100
    temperature: NonNegativeFloat = 0.8


_TEXT_SPAN = 20


class Recipe(Section):
    """A training run, on a text (`data`) or on a task."""

    data: Data | None = None
    task: Annotated[Task | None, Field(discriminator="kind", validate_default=True)] = None
    model: Model
    gradient: Annotated[Gradient, Field(discriminator="kind")]
    optimizer: Annotated[Optimizer, Field(discriminator="kind")] = Adam()
    synthesizer_optimizer: Annotated[Optimizer, Field(discriminator="kind")] = Adam()
    schedule: Annotated[Schedule, Field(discriminator="kind")] = Constant()
    """Of the model's learning rate; the synthesizer's stays as it is."""
    training: Training
    sample: Sample = Sample()

    @field_validator("task")
    @classmethod
    def _either_data_or_task(cls, task: Task | None, info: ValidationInfo) -> Task | None:
        """A field's check and not one between sections, so that it is reported beside the mistakes of others."""
        if "data" in info.data and (info.data["data"] is None) == (task is None):
            found = "neither" if task is None else "both"
            raise ValueError(f"a recipe learns either a text (data) or a task (task), got {found}")
        return task

    @property
    def span(self) -> int | None:
        """Steps between two updates; None for a whole episode."""
        return self.training.span or (_TEXT_SPAN if self.task is None else None)

    @check(mode="after")
    def _sections_agree(self) -> Self:
        mistakes = list(self._contradictions())
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _contradictions(self) -> Iterator[str]:
        """What no section can see by itself, each beginning with the field to blame."""
        epochs, updates, span = self.training.epochs, self.training.max_updates, self.span
        if self.task is not None:
            yield from self._only_for_texts()
        if isinstance(self.schedule, Restarts) and self.schedule.period >= epochs:
            yield (
                f"schedule.period must be below training.epochs, {epochs}, or there is no restart: got "
                f"{self.schedule.period:g}; without restarts it is kind: cosine"
            )
        if isinstance(self.gradient, ExactAhead) and self.model.dropout > 0:
            yield (
                f"gradient.kind exact runs the model again, which would draw other masks: model.dropout must be 0, got "
                f"{self.model.dropout}"
            )
        if not isinstance(self.gradient, SyntheticGradients):
            return
        gradient, source, grounding = self.gradient, self.gradient.source, self.gradient.grounding
        if isinstance(source, AtRestarts) and not isinstance(self.schedule, Restarts):
            yield (
                f"gradient.source.kind restarts needs schedule.kind to be restarts, got {self.schedule.kind}: there is "
                "no restart to change at; alternate has a clock of its own"
            )
        if isinstance(source, Alternate | Ramp):
            name, first = ("every", source.every) if isinstance(source, Alternate) else ("start", source.start)
            field, limit = ("training.epochs", epochs) if source.unit == "epochs" else ("training.max_updates", updates)
            if limit is not None and first >= limit:
                yield f"gradient.source.{name} must be below {field}, {limit}, or nothing ever changes: got {first:g}"
        if isinstance(source, Alternate) and source.unit == "updates" and source.every != int(source.every):
            yield f"gradient.source.every must be a whole number of updates, got {source.every:g}"
        if gradient.real_window is not None and gradient.real_window % gradient.window:
            yield (
                f"gradient.real_window must be a multiple of gradient.window, {gradient.window}, got "
                f"{gradient.real_window}"
            )
        if gradient.real_window is not None and span is not None and gradient.real_window > span:
            yield f"gradient.real_window must be at most training.span, {span}, got {gradient.real_window}"
        if grounding is not None and grounding.window < gradient.window:
            yield (
                f"gradient.grounding.window must be at least gradient.window, {gradient.window}, got {grounding.window}"
            )
        if grounding is not None and span is not None and grounding.window > span:
            yield f"gradient.grounding.window must be at most training.span, {span}, got {grounding.window}"
        if isinstance(gradient.synthesizer, AdjointSynthesizer) and grounding is not None:
            yield "gradient.grounding has other windows than gradient.synthesizer.kind adjoint learns: remove one"
        if source == ConstantSource() and gradient.real_window is not None:
            yield "gradient.real_window is for real gradients, and gradient.source says there are none: remove one"
        if source == ConstantSource(share=0.0) and grounding is not None:
            yield "gradient.grounding is for synthetic gradients, and gradient.source says there are none: remove one"

    def _only_for_texts(self) -> Iterator[str]:
        """Fields that say nothing of a task, and are not as they are when left out."""
        for field, is_set in (
            ("model.embedding_size", self.model.embedding_size is not None),
            ("model.tied", self.model.tied),
            ("model.dropout", self.model.dropout > 0),
            ("training.precision", self.training.precision != "float32"),
            ("sample", self.sample != Sample()),
        ):
            if is_set:
                yield f"{field} is for a text, and says nothing of a task: remove it"
