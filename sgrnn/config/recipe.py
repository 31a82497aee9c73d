"""A whole recipe: its sections."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, field_validator
from pydantic import model_validator as check

from sgrnn.config.data import DataConfig
from sgrnn.config.gradient import GradientConfig, SyntheticGradientsConfig
from sgrnn.config.model import ModelConfig
from sgrnn.config.optimization import (
    AdamConfig,
    AverageConfig,
    ConstantRateConfig,
    OptimizerConfig,
    ScheduleConfig,
    SynthesizerOptimizerConfig,
)
from sgrnn.config.rules import contradictions
from sgrnn.config.section import Section
from sgrnn.config.tasks import TaskConfig
from sgrnn.config.training import SampleConfig, TrainingConfig

_TEXT_SPAN = 20


class Recipe(Section):
    """A training run, on a text (`data`) or on a task."""

    data: DataConfig | None = None
    """Text to learn: either this or a task."""
    task: Annotated[TaskConfig | None, Field(discriminator="kind", validate_default=True)] = None
    """Task to learn, with known dependencies in time: either this or a text."""
    model: ModelConfig
    """Model to train."""
    gradient: Annotated[GradientConfig, Field(discriminator="kind")]
    """Gradient estimator: what crosses the boundaries between windows."""
    optimizer: Annotated[OptimizerConfig, Field(discriminator="kind")] = AdamConfig()
    """Optimizer of the model."""
    synthesizer_optimizer: Annotated[SynthesizerOptimizerConfig, Field(discriminator="kind")] = AdamConfig()
    """Optimizer of the synthesizer."""
    schedule: Annotated[ScheduleConfig, Field(discriminator="kind")] = ConstantRateConfig()
    """Schedule of the model's learning rate; the synthesizer's stays as it is."""
    average: Annotated[AverageConfig | None, Field(discriminator="kind")] = None
    """Mean of the model's weights that is evaluated, kept and used in the place of the last ones, from which training
    goes on all the same; null for none."""
    training: TrainingConfig
    """Length of the training, size of its updates, and what is logged and kept."""
    sample: SampleConfig = SampleConfig()
    """Text generated when training ends."""

    @check(mode="before")
    @classmethod
    def _tokens_of_the_start(cls, tree: Any) -> Any:
        """Leave the tokenizer to the run that another begins from, unless one is named."""
        match tree:
            case {"data": dict(data), "model": {"start_from": start}} if start is not None and "tokenizer" not in data:
                return {**tree, "data": {**data, "tokenizer": None}}
        return tree

    @field_validator("task")
    @classmethod
    def _either_data_or_task(cls, task: TaskConfig | None, info: ValidationInfo) -> TaskConfig | None:
        """A field's check and not one between sections, so that it is reported beside the mistakes of others."""
        if "data" in info.data and (info.data["data"] is None) == (task is None):
            given = "neither" if task is None else "both"
            raise ValueError(f"a recipe learns either a text (data) or a task (task), got {given}")
        return task

    @property
    def span(self) -> int | None:
        """Steps between two updates; None for a whole episode."""
        gradient = self.gradient
        if self.training.span is None and isinstance(gradient, SyntheticGradientsConfig) and gradient.delay is not None:
            return gradient.window
        return self.training.span or (_TEXT_SPAN if self.task is None else None)

    def fields_by_name(self) -> Iterator[tuple[str, str]]:
        """Yield all fields, defaults included, by their dotted names, each with its value as in YAML."""
        yield from _by_name(self.model_dump(mode="json"))

    @check(mode="after")
    def _sections_agree(self, info: ValidationInfo) -> Self:
        if mistakes := list(contradictions(self, new=bool(info.context and info.context["new"]))):
            raise ValueError("\n".join(mistakes))
        return self


def _by_name(section: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from _by_name(value, f"{path}{name}.")
        else:
            yield path + name, value if isinstance(value, str) else json.dumps(value)
