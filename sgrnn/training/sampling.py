"""Texts drawn from a language model: a prompt goes in as text, and samples come out as texts."""

from collections.abc import Sequence

from sgrnn.data import Tokenizer
from sgrnn.errors import InputError
from sgrnn.models.generation import draw_rows
from sgrnn.models.language_model import LanguageModel


def sample_texts(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str,
    length: int,
    temperature: float,
    seed: int | None,
    *,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Sequence[str] = (),
    samples: int = 1,
) -> list[str]:
    """Draw texts from a model, each the prompt and what follows it.

    Args:
        model: the model.
        tokenizer: what its tokens mean.
        prompt: text that the model reads first, after a line end.
        length: tokens to draw for each text, at most.
        temperature, seed, top_k, top_p: as in `sgrnn.generate`.
        stop: texts before the first of which a text ends, its prompt aside.
        samples: number of texts, drawn as the rows of one batch.

    Raises:
        InputError: the prompt cannot be encoded, a stop is empty, or as `sgrnn.generate`.
    """
    if "" in stop:
        raise InputError("stop must hold at least one character, got ''")
    read = tokenizer.encode_prompt(prompt).tokens.tolist()
    rows: list[list[int]] = [[] for _ in range(samples)]
    begin = len(tokenizer.decode(read))
    ended: dict[int, str] = {}
    drawn = draw_rows(
        model, [tokenizer.eos_id, *read], length, samples, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
    )
    for tokens in drawn:
        for number, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            if number in ended:
                continue
            row.append(token)
            if stop:
                text = tokenizer.decode([*read, *row])
                places = [place for each in stop if (place := text.find(each, begin)) >= 0]
                if places:
                    ended[number] = text[: min(places)]
        if len(ended) == samples:
            break
    return [ended.get(number, tokenizer.decode([*read, *row])) for number, row in enumerate(rows)]
