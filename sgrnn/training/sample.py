"""The text that shows what a model has learned."""

import numpy as np

from sgrnn.config.training import SampleConfig
from sgrnn.data import Tokenizer
from sgrnn.models.generation import generate
from sgrnn.models.language_model import LanguageModel


def sample_text(model: LanguageModel, tokenizer: Tokenizer, sample: SampleConfig, seed: int | None) -> str:
    """Return prompt and continuation, as a recipe asks for them; without a seed another each time."""
    prompt = tokenizer.encode_prompt(sample.prompt).tokens.tolist()
    read = [tokenizer.eos_id, *prompt]
    drawn = list(generate(model, read, sample.length, temperature=sample.temperature, seed=seed))
    return tokenizer.decode(np.array(prompt + drawn, np.int32))
