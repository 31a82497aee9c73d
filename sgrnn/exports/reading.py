"""Reading of a model from the folder that it was exported to."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model

from sgrnn.data import Tokenizer, load_tokenizer
from sgrnn.errors import InputError
from sgrnn.exports.description import build
from sgrnn.models.sequence_model import SequenceModel

FORMAT = "sgrnn model 1"
CONFIG, PARAMETERS = "config.json", "model.safetensors"


def read(folder: Path) -> tuple[SequenceModel, Tokenizer | None]:
    """Return the model and the tokenizer of a folder that a model was exported to; no tokenizer for a task.

    Raises:
        InputError: it holds no parameters, is damaged or was written in another format.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text("utf-8"))
        if config["format"] != FORMAT:
            raise InputError(
                f"{path}: expected the format {FORMAT!r}, got {config['format']!r}; export the model again with this "
                "version"
            )
        model = build(config)
    except FileNotFoundError:
        raise InputError(f"{folder} holds no exported model: expected {path}") from None
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: {error!r}; export the model again") from None
    parameters = folder / PARAMETERS
    if not parameters.is_file():
        raise InputError(f"{parameters} does not exist: export the model again with --format safetensors")
    try:
        load_model(model, parameters)
    except (RuntimeError, SafetensorError, OSError) as error:
        raise InputError(f"{parameters} does not fit {path}: {error}; export the model again") from None
    return model, load_tokenizer(folder / "tokenizer") if "tokenizer" in config else None
