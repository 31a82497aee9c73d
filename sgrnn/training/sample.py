"""The text that shows what a model has learned."""

import numpy as np

from sgrnn.data import Tokenizer
from sgrnn.generation import generate
from sgrnn.language_model import LanguageModel
from sgrnn.training.recipe import Sample


def sample_text(model: LanguageModel, tokenizer: Tokenizer, sample: Sample, seed: int) -> str:
    """Prompt and continuation, as a recipe asks for them."""
    prompt = tokenizer.encode_prompt(sample.prompt).tokens.tolist()
    read = [tokenizer.eos_id, *prompt]
    drawn = list(generate(model, read, sample.length, temperature=sample.temperature, seed=seed))
    return tokenizer.decode(np.array(prompt + drawn, np.int32))
