"""The architecture of a model as plain values: all that it takes to build it again, without a recipe or its owner."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from sgrnn import cores
from sgrnn.cores.locked import LockedDropout
from sgrnn.errors import InputError
from sgrnn.models.adaptive_softmax import AdaptiveSoftmax
from sgrnn.models.language_model import LanguageModel
from sgrnn.models.readout import Readout
from sgrnn.tasks import scores

_STACKS: dict[str, type[cores.LSTM | cores.GRU | cores.RNN]] = {"lstm": cores.LSTM, "gru": cores.GRU, "rnn": cores.RNN}
_REGULARIZATION = (
    "output_dropout",
    "word_dropout",
    "locked_dropout",
    "activation_regularization",
    "temporal_activation_regularization",
)
_LOSSES = {loss.__name__: loss for loss in (scores.binary_cross_entropy, scores.cross_entropy, scores.squared_error)}


def describe(model: nn.Module) -> dict[str, Any]:
    """Return the architecture of a model: names, numbers, and nests of them.

    Raises:
        InputError: the model or its core is of somebody else's class, or has hooks or parametrizations.
    """
    for name, part in model.named_modules():
        if part._forward_hooks or part._forward_pre_hooks or is_parametrized(part):
            raise InputError(
                f"a model with hooks or parametrizations cannot be exported, got some in {name or 'the model'}: remove "
                "them, as torch.nn.utils.parametrize.remove_parametrizations does"
            )
    if type(model) is LanguageModel:
        _require_part(model, "embedding", nn.Embedding)
        _require_part(model, "output", nn.Linear, AdaptiveSoftmax)
        return {
            "model": "language",
            "vocabulary_size": model.embedding.num_embeddings,
            "embedding_size": model.embedding.embedding_dim,
            "output_size": model.output.in_features,
            "tied": getattr(model.output, "weight", None) is model.embedding.weight,
            "adaptive_softmax": _describe_adaptive(model.output),
            "dropout": model.dropout.p,
            **_regularization(model),
            "reset_at": model.reset_at,
            "core": _describe_core(model.core),
        }
    if type(model) is Readout:
        _require_part(model, "output", nn.Linear)
        loss = getattr(model.task_loss, "__name__", None)
        return {
            "model": "readout",
            "input_size": model.input_size,
            "core_size": model.output.in_features,
            "output_size": model.output.out_features,
            "loss": loss if _LOSSES.get(loss or "") is model.task_loss else None,
            "core": _describe_core(model.core),
        }
    raise InputError(
        f"the model must be a LanguageModel or a Readout to be exported, got a {type(model).__name__}: use torch.onnx "
        "or torch.export on it"
    )


def build(description: Mapping[str, Any]) -> LanguageModel | Readout:
    """Return the model of a description, its parameters drawn anew.

    Args:
        description: as `describe` gives, perhaps among other things.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    core = _build_core(description["core"])
    if description["model"] == "language":
        model = LanguageModel(
            description["vocabulary_size"],
            description["embedding_size"],
            core,
            description["output_size"],
            tied=description["tied"],
            output=_build_adaptive(description),
            dropout=description["dropout"],
            **{name: description[name] for name in _REGULARIZATION if name in description},
        )
        model.reset_at = description["reset_at"]
        return model
    if description["model"] != "readout":
        raise ValueError(f"model must be language or readout, got {description['model']!r}")
    loss = _LOSSES.get(description["loss"], _no_loss)
    sizes = description["core_size"], description["output_size"]
    return Readout(core, *sizes, loss, input_size=description["input_size"])


def rebuilt(model: nn.Module) -> LanguageModel | Readout:
    """Return a model as its description says, with the parameters of the given one, in float32 on the CPU.

    Raises:
        InputError: as `describe`, or parameters are others than such a model has, or not finite.
    """
    again = build(describe(model))
    broken = [name for name, parameter in model.named_parameters() if not parameter.isfinite().all()]
    if broken:
        raise InputError(f"a model that diverged cannot be exported, got what is not finite in {', '.join(broken)}")
    others = again.load_state_dict(model.state_dict(), strict=False)
    if others.unexpected_keys or others.missing_keys:
        names = ", ".join([*others.unexpected_keys, *(f"no {name}" for name in others.missing_keys)])
        raise InputError(f"a model with parameters of its own cannot be exported, got {names}")
    return again


def state_names(core: nn.Module) -> list[str]:
    """Return a name for every tensor of a core's state, in their order; levels are numbered from the fastest, 0.

    >>> state_names(cores.HierarchicalCore([cores.LSTM(3 + 8, 5), cores.GRU(5, 8)], periods=[1, 4]))
    ['phase', 'message_0', 'summary_0', 'level_1_hidden', 'level_0_hidden', 'level_0_cell']
    """
    if isinstance(core, cores.SequentialCore):
        return [f"core_{number}_{name}" for number, part in enumerate(core.cores) for name in state_names(part)]
    if not isinstance(core, cores.HierarchicalCore):
        return ["hidden", "cell"] if isinstance(core, cores.LSTM) else ["hidden"]
    levels = [[f"level_{number}_{name}" for name in state_names(level)] for number, level in enumerate(core.levels)]
    between = range(len(levels) - 1)
    return [
        "phase",
        *(f"message_{number}" for number in between),
        *(f"summary_{number}" for number in between),
        *(name for level in (*levels[1:], levels[0]) for name in level),
    ]


def _require_part(model: nn.Module, name: str, *kinds: type[nn.Module]) -> None:
    if not isinstance(part := getattr(model, name), kinds):
        raise InputError(f"a model with an {name} of its own cannot be exported, got a {type(part).__name__}")


def _describe_adaptive(output: nn.Module) -> dict[str, Any] | None:
    return {"cutoffs": output.cutoffs, "div_value": output.div_value} if type(output) is AdaptiveSoftmax else None


def _build_adaptive(description: Mapping[str, Any]) -> AdaptiveSoftmax | None:
    options = description.get("adaptive_softmax")  # which exports of before lack
    return options and AdaptiveSoftmax(description["output_size"], description["vocabulary_size"], **options)


def _regularization(model: LanguageModel) -> dict[str, Any]:
    """Return how a language model is regularized in training, as far as its dropout does not tell."""
    penalty, of_outputs = model.activation_regularization, model.output_dropout.p
    values = {
        "output_dropout": None if of_outputs == model.dropout.p else of_outputs,
        "word_dropout": model.word_dropout.p or None,
        "locked_dropout": isinstance(model.dropout, LockedDropout) or None,
        "activation_regularization": penalty.activation or None,
        "temporal_activation_regularization": penalty.temporal or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _describe_core(core: nn.Module) -> dict[str, Any]:
    if type(core) is cores.HierarchicalCore:
        return {
            "kind": "hierarchy",
            "periods": list(core.periods),
            "message_sizes": [part.out_features if isinstance(part, nn.Linear) else None for part in core.condition],
            "levels": [_describe_core(level) for level in core.levels],
        }
    if type(core) is cores.SequentialCore:
        locked = isinstance(core.dropout, LockedDropout)
        below = [_describe_core(part) for part in core.cores]
        return {"kind": "sequential", "cores": below, "dropout": core.dropout.p, "locked_dropout": locked}
    for name, kind in _STACKS.items():
        if type(core) is kind:
            sizes = {"input_size": core.input_size, "hidden_size": core.hidden_size, "num_layers": core.num_layers}
            locked = {"locked_dropout": True} if isinstance(core.dropout, LockedDropout) else {}
            dropped = {"weight_dropout": core.weight_dropout.p} if core.weight_dropout.p else {}
            return {"kind": name, **sizes, "dropout": core.dropout.p, **locked, **dropped}
    raise InputError(
        "the core must be sgrnn's LSTM, GRU, RNN, SequentialCore or HierarchicalCore to be exported, got the "
        f"{type(core).__name__} of {type(core).__module__}: use torch.onnx or torch.export on the model"
    )


def _build_core(description: Mapping[str, Any]) -> nn.Module:
    options = dict(description)
    kind = options.pop("kind")
    if kind == "hierarchy":
        return cores.HierarchicalCore([_build_core(level) for level in options.pop("levels")], **options)
    if kind == "sequential":
        return cores.SequentialCore([_build_core(part) for part in options.pop("cores")], **options)
    if kind not in _STACKS:
        raise ValueError(f"core.kind must be one of {', '.join(_STACKS)}, sequential or hierarchy, got {kind!r}")
    return _STACKS[kind](**options)


def _no_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    raise InputError("the model was exported with a loss of its owner's, which is not in the folder")
