"""A language model on a text of your own, from its file to its perplexity and a sample.

python examples/own_text.py book.txt             from a recipe, in a run folder that `sgrnn resume` goes on with
python examples/own_text.py book.txt --by-hand   the same in a loop of one's own
"""

import argparse
from itertools import islice
from pathlib import Path

import torch

import sgrnn
from sgrnn.data import Tokenizer, TokenStream, load_texts, train_tokenizer


def by_recipe(book: Path, updates: int) -> tuple[sgrnn.LanguageModel, Tokenizer]:
    """Train the quickstart's model on a file, the end of which is kept for validation and test."""
    data = {"corpus": "text", "train": book, "tokenizer": {"kind": "character", "min_count": 2}}
    run = sgrnn.train("quickstart", data=data, training={"max_updates": updates}, sample={"prompt": ""})
    return sgrnn.load(run)


def by_hand(book: Path, updates: int) -> tuple[sgrnn.LanguageModel, Tokenizer]:
    """Train such a model in a loop of one's own."""
    text = load_texts("text", Path(), train=book).texts["train"]
    tokenizer = train_tokenizer("character", text, min_count=2)
    model = sgrnn.LanguageModel(tokenizer.vocabulary_size, 96, sgrnn.LSTM(96, 160), 160)
    sg = sgrnn.SyntheticGradients(model, model.loss, window=5)
    optimizer = torch.optim.Adam([*model.parameters(), *sg.parameters()], lr=3e-3)
    stream = TokenStream(tokenizer.encode(text), tokenizer.eos_id, batch_size=16, span_steps=20, lookahead=sg.lookahead)
    state = None
    for number, span in enumerate(islice(stream, updates)):
        step = sg.backward(span, state)
        state = step.state
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if number % 100 == 0:
            print(f"update {number}: loss {float(step.loss):.3f}")
    return model, tokenizer


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("book", type=Path)
    parser.add_argument("--by-hand", action="store_true")
    parser.add_argument("--updates", type=int, default=1000)
    given = parser.parse_args()
    model, tokenizer = (by_hand if given.by_hand else by_recipe)(given.book, given.updates)
    score = sgrnn.score(model, tokenizer, load_texts("text", Path(), train=given.book).texts["test"])
    print(f"test perplexity {score.perplexity:.2f} per token, {score.bits_per_character:.3f} bits per character")
    print(tokenizer.decode([*sgrnn.generate(model, [tokenizer.eos_id], 300, temperature=0.8, top_p=0.95, seed=1)]))
