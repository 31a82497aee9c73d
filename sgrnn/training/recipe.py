"""Recipes: the typed description of a training run.

A recipe is a YAML file of the sections below; a field left out takes the default shown here. Recipes are known to
`sgrnn.training` and the command line alone: the library's classes take plain keyword arguments.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)
from pydantic import model_validator as check

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A section of a recipe: unknown fields are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=False)


class Tokenizer(Section):
    """How text becomes tokens. The vocabulary comes from the train split alone."""

    kind: Literal["word", "character", "bpe", "unigram"] = "word"
    vocabulary_size: PositiveInt | None = None
    """bpe, unigram: pieces; word: the most frequent words kept, all if left out."""
    min_count: PositiveInt = 1
    """word, character: what is rarer becomes `<unk>`."""

    @check(mode="after")
    def _options_fit_kind(self) -> Self:
        subwords = self.kind in ("bpe", "unigram")
        if subwords and self.vocabulary_size is None:
            raise ValueError(f"{self.kind} needs vocabulary_size, the number of pieces: try 8000")
        if subwords and self.min_count != 1:
            raise ValueError(f"min_count is for word and character, not {self.kind}: remove it")
        if self.kind == "character" and self.vocabulary_size is not None:
            raise ValueError("vocabulary_size is not for character: drop rare characters with min_count instead")
        return self


class Data(Section):
    """What is read."""

    corpus: Literal["ptb", "ptb-char", "wikitext-2", "python-docs", "text"]
    tokenizer: Tokenizer = Tokenizer()
    train: Path | None = None
    """corpus `text`: the file to train on, relative to the recipe."""
    valid: Path | None = None
    """corpus `text`: left out, the last `valid_fraction` of `train`."""
    test: Path | None = None
    valid_fraction: Fraction = 0.05
    test_fraction: Fraction = 0.05

    @check(mode="after")
    def _files_fit_corpus(self) -> Self:
        if self.corpus == "text" and self.train is None:
            raise ValueError("corpus text needs train: the file to train on")
        if self.corpus != "text" and any((self.train, self.valid, self.test)):
            raise ValueError(f"train, valid and test are for corpus text, not {self.corpus}: remove them")
        return self


class Mnist(Section):
    """Sequential MNIST; an epoch goes once through the images."""

    kind: Literal["mnist"] = "mnist"
    by: Literal["pixel", "row"] = "pixel"
    """What is read at a step."""


class _Drawn(Section):
    """A task whose episodes are drawn without end."""

    episodes_per_epoch: PositiveInt = 1000
    """Between two evaluations. Where episodes grow and are cut into spans, an epoch has as many updates as so many
    episodes of the first length have."""


class Copy(_Drawn):
    """Give the vectors that were read; their number is raised as they are mastered."""

    kind: Literal["copy"] = "copy"
    bits: PositiveInt = 8
    vectors: PositiveInt = 1
    """To begin with."""
    threshold: PositiveFloat = 0.15
    """Loss in bits per output bit under which an episode counts as mastered."""


class RepeatCopy(_Drawn):
    """Give the vectors that were read several times over; both numbers are raised as they are mastered."""

    kind: Literal["repeat-copy"] = "repeat-copy"
    bits: PositiveInt = 8
    vectors: PositiveInt = 1
    """To begin with."""
    repeats: PositiveInt = 1
    """To begin with."""
    repeats_scale: PositiveInt = 10
    """The number of repeats that is shown as 1."""
    threshold: PositiveFloat = 0.15
    """Loss in bits per output bit under which an episode counts as mastered."""


class Adding(_Drawn):
    """Give the sum of the two numbers that were marked."""

    kind: Literal["adding"] = "adding"
    lag: PositiveInt
    """Steps from one to the other."""
    steps: PositiveInt | None = None
    """Of an episode; null for twice the lag."""

    @check(mode="after")
    def _has_room_for_the_lag(self) -> Self:
        if self.steps is not None and self.steps <= self.lag:
            raise ValueError(f"steps must be more than the lag, {self.lag}, got {self.steps}")
        return self


class Recall(_Drawn):
    """Name a token some steps after it was read."""

    kind: Literal["recall"] = "recall"
    lag: PositiveInt
    """Steps in between."""
    tokens: Annotated[int, Field(ge=2)] = 8
    """How many there are."""


Task = Copy | RepeatCopy | Adding | Recall | Mnist


class Model(Section):
    """Embedding, core, output layer."""

    core: Literal["lstm", "gru", "rnn"] = "lstm"
    hidden_size: PositiveInt
    num_layers: PositiveInt = 1
    embedding_size: PositiveInt | None = None
    """`hidden_size` if left out."""
    tied: bool = False
    dropout: Fraction = 0.0
    """On embeddings, between layers and on the last layer's outputs."""
    initial_range: PositiveFloat | None = None
    """All parameters are drawn uniformly from plus or minus this; left out, torch's defaults (embedding: 0.1)."""

    @check(mode="after")
    def _sizes_fit(self) -> Self:
        if self.tied and self.embedding_size not in (None, self.hidden_size):
            raise ValueError(
                f"tied needs embedding_size to be hidden_size, {self.hidden_size}, got {self.embedding_size}"
            )
        return self


class Full(Section):
    """Back-propagation through the whole span."""

    kind: Literal["full"] = "full"


class Truncated(Section):
    """Nothing crosses a boundary."""

    kind: Literal["truncated"] = "truncated"
    window: PositiveInt
    parallel: bool = False


class ErrorSynthesizer(Section):
    """Carries the errors that the model makes in the next steps back by learned Jacobians."""

    kind: Literal["error"] = "error"
    lookahead: PositiveInt = 8
    hidden_size: PositiveInt = 128
    """Units of the network that computes the gates."""
    rank: PositiveInt = 32
    """Of the learned Jacobian of each step ahead."""
    projection: PositiveInt = 32
    """Features that each input ahead is reduced to."""
    near: PositiveInt = 2
    """Steps ahead whose Jacobians depend on state and inputs; those beyond are constants."""


class AdjointSynthesizer(Section):
    """A learned backward pass: carries errors, and what arrives at the next boundary, back by learned Jacobians."""

    kind: Literal["adjoint"] = "adjoint"
    hidden_size: PositiveInt = 128
    """Units of the network that computes gains and gates."""
    rank: PositiveInt = 32
    """Of the learned Jacobian."""
    projection: PositiveInt = 32
    """Features that each input of a window is reduced to."""
    near: PositiveInt | None = None
    """Steps of a window whose Jacobians depend on state and inputs; null for all."""


class MLPSynthesizer(Section):
    """A multi-layer perceptron that sees the tokens ahead, as in the literature with a lookahead of 0."""

    kind: Literal["mlp"] = "mlp"
    lookahead: NonNegativeInt = 4
    hidden_sizes: tuple[PositiveInt, ...] = (256,)
    """Units of the synthesizer's hidden layers; [] makes it linear."""
    projection: PositiveInt | None = 32
    """Features that each step ahead is reduced to; null for all."""
    recurrent: PositiveInt | None = None
    """Read the steps ahead by a GRU of so many units instead."""
    own_embedding: PositiveInt | None = None
    """See the steps ahead through embeddings of this size instead of the model's own."""
    auxiliary: bool = False


Share = Annotated[float, Field(ge=0, le=1)]
Source = Literal["real", "synthetic"]
Unit = Literal["epochs", "updates"]


class ConstantSource(Section):
    """The same share of synthetic gradients at all times."""

    kind: Literal["constant"] = "constant"
    share: Share = 1.0


class Alternate(Section):
    """Real and synthetic gradients by turns."""

    kind: Literal["alternate"] = "alternate"
    every: PositiveFloat
    """Length of the first turn."""
    growth: Annotated[float, Field(ge=1)] = 1.0
    """Of each turn's length over that of the one before."""
    unit: Unit = "epochs"
    first: Source = "real"


class AtRestarts(Section):
    """By turns, changing whenever the learning rate restarts: needs the schedule `restarts`."""

    kind: Literal["restarts"] = "restarts"
    first: Source = "real"


class Ramp(Section):
    """From one share of synthetic gradients to another."""

    kind: Literal["ramp"] = "ramp"
    start: NonNegativeFloat = 0.0
    stop: PositiveFloat
    before: Share = 0.0
    after: Share = 1.0
    shape: Literal["linear", "cosine"] = "linear"
    unit: Unit = "epochs"

    @check(mode="after")
    def _has_a_length(self) -> Self:
        if self.stop <= self.start:
            raise ValueError(f"stop must be above start, {self.start:g}, got {self.stop:g}")
        return self


class Chance(Section):
    """Synthetic with a probability, drawn for every span."""

    kind: Literal["random"] = "random"
    probability: Share
    seed: NonNegativeInt = 0


class Grounding(Section):
    """Now and then a span in which the synthetic gradients are those of a longer window."""

    every: PositiveInt
    """Spans."""
    window: PositiveInt


class Synthetic(Section):
    """Synthetic gradients cross the boundaries, always or as `source` says."""

    kind: Literal["synthetic"] = "synthetic"
    window: PositiveInt
    synthesizer: Annotated[ErrorSynthesizer | AdjointSynthesizer | MLPSynthesizer, Field(discriminator="kind")] = (
        ErrorSynthesizer()
    )
    ahead: NonNegativeInt | None = None
    """Steps that the model is run beyond the span, for a synthesizer that sees errors to know those there; null for as
    many as it sees."""
    trace_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """lambda of TD(lambda): how much of the real gradient crosses the boundaries inside a span."""
    discount: Annotated[float, Field(ge=0, le=1)] = 1.0
    center: bool = False
    tangent: bool = True
    gate: bool = True
    follow_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    follow_every: PositiveInt = 1
    shuffle: bool = False
    """A control: every row gets the prediction made for another."""
    parallel: bool = False
    source: Annotated[ConstantSource | Alternate | AtRestarts | Ramp | Chance, Field(discriminator="kind")] = (
        ConstantSource()
    )
    """Who supplies the gradient at a boundary."""
    real_window: PositiveInt | None = None
    """Steps that real gradients go back while it is their turn; null for the whole span."""
    grounding: Grounding | None = None
    learn_always: bool = False
    """Train the synthesizer while it is not used too."""


class Sgd(Section):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: PositiveFloat
    momentum: Fraction = 0.0
    weight_decay: NonNegativeFloat = 0.0


class Adam(Section):
    """Adam; weight decay as an L2 penalty."""

    kind: Literal["adam"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0


class AdamW(Section):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: PositiveFloat = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.01


class Constant(Section):
    """The learning rate as it is."""

    kind: Literal["constant"] = "constant"


class StepDecay(Section):
    """From epoch `after` on, times `factor` every `every` epochs."""

    kind: Literal["step"] = "step"
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    after: NonNegativeInt = 0
    every: PositiveInt = 1


class Plateau(Section):
    """Times `factor` whenever the validation loss has not improved for `patience` epochs."""

    kind: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    patience: PositiveInt = 1


class Cosine(Section):
    """Half a cosine from 1 down to `floor` at the last epoch, after a linear rise over `warmup` epochs."""

    kind: Literal["cosine"] = "cosine"
    floor: Fraction = 0.0
    warmup: NonNegativeFloat = 0.0


class Restarts(Section):
    """Half a cosine from 1 down to `floor`, again and again (SGDR)."""

    kind: Literal["restarts"] = "restarts"
    period: PositiveFloat
    """Epochs to the first restart."""
    growth: Annotated[float, Field(ge=1)] = 1.0
    """Of each period over the one before: 2 doubles it."""
    floor: Fraction = 0.0


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
    clip: PositiveFloat | None = 1.0
    """Largest norm of the model's gradient; null for no limit."""
    synthesizer_clip: PositiveFloat | None = None
    """Largest norm of the synthesizer's gradient, which is clipped by itself; null for no limit."""
    patience: PositiveInt | None = None
    """Stop when the validation loss has not improved for so many epochs; of a task that grows, length and loss."""
    log_every: PositiveInt = 50
    evaluate_every: PositiveInt | None = None
    """Updates between two evaluations on the valid split, besides the one at the end of each epoch."""
    checkpoint_every: PositiveInt = 1000
    device: Literal["auto", "cpu", "cuda"] = "auto"


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
    policy: Annotated[Full | Truncated | Synthetic, Field(discriminator="kind")]
    optimizer: Annotated[Sgd | Adam | AdamW, Field(discriminator="kind")] = Adam()
    synthesizer_optimizer: Annotated[Sgd | Adam | AdamW, Field(discriminator="kind")] = Adam()
    schedule: Annotated[Constant | StepDecay | Plateau | Cosine | Restarts, Field(discriminator="kind")] = Constant()
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
        if not isinstance(self.policy, Synthetic):
            return
        policy, source, grounding = self.policy, self.policy.source, self.policy.grounding
        if isinstance(source, AtRestarts) and not isinstance(self.schedule, Restarts):
            yield (
                f"policy.source.kind restarts needs schedule.kind to be restarts, got {self.schedule.kind}: there is "
                "no restart to change at; alternate has a clock of its own"
            )
        if isinstance(source, Alternate | Ramp):
            name, first = ("every", source.every) if isinstance(source, Alternate) else ("start", source.start)
            field, limit = ("training.epochs", epochs) if source.unit == "epochs" else ("training.max_updates", updates)
            if limit is not None and first >= limit:
                yield f"policy.source.{name} must be below {field}, {limit}, or nothing ever changes: got {first:g}"
        if isinstance(source, Alternate) and source.unit == "updates" and source.every != int(source.every):
            yield f"policy.source.every must be a whole number of updates, got {source.every:g}"
        if policy.real_window is not None and policy.real_window % policy.window:
            yield f"policy.real_window must be a multiple of policy.window, {policy.window}, got {policy.real_window}"
        if policy.real_window is not None and span is not None and policy.real_window > span:
            yield f"policy.real_window must be at most training.span, {span}, got {policy.real_window}"
        if grounding is not None and grounding.window < policy.window:
            yield f"policy.grounding.window must be at least policy.window, {policy.window}, got {grounding.window}"
        if grounding is not None and span is not None and grounding.window > span:
            yield f"policy.grounding.window must be at most training.span, {span}, got {grounding.window}"
        if isinstance(policy.synthesizer, AdjointSynthesizer):
            if grounding is not None:
                yield "policy.grounding has other windows than policy.synthesizer.kind adjoint learns of: remove one"
            for name in ("follow_rate", "follow_every"):
                if getattr(policy, name) != 1:
                    yield f"policy.{name} is for bootstrapping, which policy.synthesizer.kind adjoint does not do"
        if source == ConstantSource() and (policy.real_window is not None or policy.learn_always):
            name = "learn_always" if policy.real_window is None else "real_window"
            yield f"policy.{name} is for when gradients are real, and policy.source says they never are: remove one"
        if source == ConstantSource(share=0.0) and grounding is not None:
            yield "policy.grounding is for synthetic gradients, and policy.source says there are none: remove one"

    def _only_for_texts(self) -> Iterator[str]:
        """Fields that say nothing of a task, and are not as they are when left out."""
        synthesizer = self.policy.synthesizer if isinstance(self.policy, Synthetic) else None
        for field, is_set in (
            ("model.embedding_size", self.model.embedding_size is not None),
            ("model.tied", self.model.tied),
            ("model.dropout", self.model.dropout > 0),
            (
                "policy.synthesizer.own_embedding",
                isinstance(synthesizer, MLPSynthesizer) and synthesizer.own_embedding is not None,
            ),
            ("training.precision", self.training.precision != "float32"),
            ("sample", self.sample != Sample()),
        ):
            if is_set:
                yield f"{field} is for a text, and says nothing of a task: remove it"
