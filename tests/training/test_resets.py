"""Runs whose state is reset at lines or documents: the recipe's field reaches training and score."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sgrnn.errors import InputError
from sgrnn.models.evaluation import evaluate
from sgrnn.models.language_model import LanguageModel
from sgrnn.training.loading import load
from sgrnn.training.problems.opening import problem_of
from sgrnn.training.problems.text_problem import TextProblem
from sgrnn.training.scoring import score, score_lines

from .tiny import Training

Start = Callable[..., Training]


def pieces_alone(model: LanguageModel, training: Training, separator: list[int]) -> float:
    """Nats of the valid split's pieces, each scored as a text of its own."""
    tokens, eos = training.files["valid"].array.tolist(), training.files.eos_id
    piece, nats, pieces = [], 0.0, 0
    for token in tokens:
        piece.append(token)
        if piece[-len(separator) :] == separator:
            nats, piece, pieces = nats + evaluate(model, torch.tensor(piece), eos), [], pieces + 1
    assert pieces
    return nats + (evaluate(model, torch.tensor(piece), eos) if piece else 0.0)


@pytest.mark.parametrize("unit", ["line", "document"])
def test_a_run_is_trained_and_scored_piece_by_piece(start: Start, folder: Path, unit: str) -> None:
    for split in ("train", "valid"):
        path = folder / f"{split}.txt"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("\n".join("".join(lines[at : at + 2]) for at in range(0, len(lines), 2)))
    plain, reset = start("plain", "--training.max_updates=2"), start(
        "reset", f"--data.reset={unit}", "--training.max_updates=2"
    )  # fmt: skip
    logged = [training()[-1] for training in (plain, reset)]
    assert logged[0]["valid_loss"] != logged[1]["valid_loss"]
    model, tokenizer = load(reset.run)
    assert isinstance(model, LanguageModel)
    eos = reset.files.eos_id
    expected = pieces_alone(model, reset, [eos] if unit == "line" else [eos, eos])
    problem = problem_of(reset.run, folder / "data")
    assert isinstance(problem, TextProblem)
    assert problem.exact_score(model, "valid").nats == pytest.approx(expected, rel=1e-6)
    assert logged[1]["valid_loss"] == pytest.approx(expected / problem.files["valid"].tokens, rel=1e-6)
    if unit == "line":  # a text is scored by the run folder alone as it is by the corpus
        assert score(model, tokenizer, folder / "valid.txt").nats == pytest.approx(expected, rel=1e-6)
        _, lines = score_lines(model, tokenizer, folder / "valid.txt")
        alone = [score(model, tokenizer, f"{line.text}\n").nats for line in lines]
        assert [line.nats for line in lines] == pytest.approx(alone, rel=1e-6)
    assert (model.reset_at, problem.build_model().reset_at) == ((eos, eos) if unit == "line" else (None, None))


def test_a_text_without_documents_is_refused_before_a_folder_is_made(start: Start, folder: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.reset is document, and text train holds no empty line that"):
        start("run", "--data.reset=document")
    assert not (folder / "run").exists()
