"""Exported graphs compute what the model does, in a runtime that knows neither sgrnn nor its state."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import sgrnn
from sgrnn.errors import InputError
from sgrnn.exports import layers
from sgrnn.exports.description import build, describe, state_names
from sgrnn.exports.graphs import Graph
from sgrnn.models.readout import Readout
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.state import leaves
from sgrnn.tasks.scores import squared_error

STEPS, ROWS = 23, 3
CHUNKS = [1] * 8 + [5, 1, 9]  # any lengths follow each other


def lstm() -> SequenceModel:
    core = sgrnn.LSTM(8, 8, num_layers=2, dropout=0.3)
    return sgrnn.LanguageModel(11, 8, core, 8, tied=True, dropout=0.2)


def gru() -> SequenceModel:
    return sgrnn.LanguageModel(11, 6, sgrnn.GRU(6, 8), 8)


def sequential() -> SequenceModel:
    of_layers = {"dropout": 0.3, "locked_dropout": True, "weight_dropout": 0.5}
    core = sgrnn.SequentialCore([sgrnn.LSTM(6, 8, 2, **of_layers), sgrnn.LSTM(8, 6)], 0.3, locked_dropout=True)
    return sgrnn.LanguageModel(
        11, 6, core, 6, tied=True, dropout=0.4, output_dropout=0.0, word_dropout=0.1, locked_dropout=True,
        activation_regularization=2, temporal_activation_regularization=1,
    )  # fmt: skip


def rnn() -> SequenceModel:
    return Readout(sgrnn.RNN(4, 8, num_layers=2), 8, 5, squared_error)


def hierarchy() -> SequenceModel:
    core = sgrnn.HierarchicalCore([sgrnn.GRU(6 + 3, 8), sgrnn.RNN(8, 5)], [1, 3], message_sizes=[3])
    return sgrnn.LanguageModel(11, 6, core, 8)


def test_regularization_is_described_and_built_again() -> None:
    description = describe(sequential())
    assert describe(build(description)) == description
    assert description["core"]["cores"][0]["weight_dropout"] == 0.5
    names = ("output_dropout", "word_dropout", "locked_dropout", "temporal_activation_regularization")
    assert [description[name] for name in names] == [0.0, 0.1, True, 1]
    assert not set(names) & set(describe(lstm()))


class Exported(NamedTuple):
    """A model, the folder that it was exported to, and the differences that were found there."""

    model: SequenceModel
    folder: Path
    differences: dict[str, float]


# Of each kind of layer an operator and, for torch, a cell: GRU and RNN have theirs in the hierarchy.
CASES = [
    (lstm, ("onnx", "torch")),
    (gru, ("onnx",)),
    (rnn, ("onnx",)),
    (sequential, ("onnx", "torch")),
    (hierarchy, ("onnx", "torch")),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case[0].__name__)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A model in training mode with large weights, exported as graphs."""
    torch.manual_seed(0)
    build, formats = request.param
    model = build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    folder = tmp_path_factory.mktemp("exported") / "model"
    return Exported(model, folder, sgrnn.export(model, folder, formats))


def onnx_of(folder: Path) -> Callable[[list[Tensor]], list[Tensor]]:
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    names = [read.name for read in session.get_inputs()]
    return lambda inputs: [
        torch.from_numpy(array)
        for array in session.run(None, {name: each.numpy() for name, each in zip(names, inputs, strict=True)})
    ]


def torch_of(folder: Path) -> Callable[[list[Tensor]], Sequence[Tensor]]:
    program = torch.export.load(folder / "model.pt2").module()
    return lambda inputs: program(*inputs)


@torch.no_grad()
def test_a_graph_that_carries_its_own_state_follows_the_model(exported: Exported) -> None:
    model = exported.model
    if isinstance(model, sgrnn.LanguageModel):
        inputs, predict = torch.randint(11, (STEPS, ROWS)), model.logits
    else:
        assert isinstance(model, Readout)
        inputs, predict = torch.randn(STEPS, ROWS, 4), model.predict
    model.eval()
    outputs, after = model(inputs, model.initial_state(ROWS))
    model.train()
    described = json.loads((exported.folder / "config.json").read_text())["state"]
    zeros = [
        torch.zeros([ROWS if size == "batch" else size for size in each["shape"]], dtype=getattr(torch, each["dtype"]))
        for each in described
    ]
    for name, opened in (("model.onnx", onnx_of), ("model.pt2", torch_of)):
        if name in exported.differences:
            run, predictions, state = opened(exported.folder), [], zeros
            for chunk in inputs.split(CHUNKS):
                predicted, *state = run([chunk, *state])
                predictions.append(predicted)
            torch.testing.assert_close(torch.cat(predictions), predict(outputs), atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(state, leaves(after), atol=1e-5, rtol=1e-5)


def test_names_and_axes_of_onnx_are_those_of_the_description(exported: Exported) -> None:
    session = onnxruntime.InferenceSession(exported.folder / "model.onnx", providers=["CPUExecutionProvider"])
    config = json.loads((exported.folder / "config.json").read_text())
    text = config["model"] == "language"
    features = [] if text else [config["input_size"]]
    first = ["tokens" if text else "inputs", ["time", "batch", *features]]
    last = ["logits" if text else "answers", ["time", "batch", config["vocabulary_size" if text else "output_size"]]]
    state = [[each["name"], each["shape"]] for each in config["state"]]
    assert [[each.name, each.shape] for each in session.get_inputs()] == [first, *state]
    assert [each.name for each in session.get_outputs()] == [last[0], *(f"next_{name}" for name, _ in state)]
    assert session.get_outputs()[0].shape == last[1]


@torch.no_grad()
def test_names_say_what_the_tensors_are() -> None:
    stack = sgrnn.LSTM(4, 8, num_layers=2)
    outputs, state = stack(torch.randn(3, 2, 4), stack.initial_state(2))
    named = dict(zip(state_names(stack), leaves(state), strict=True))
    assert torch.equal(named["hidden"][-1], outputs[-1])
    levels = sgrnn.HierarchicalCore([sgrnn.LSTM(4 + 3, 8), sgrnn.LSTM(8, 5)], [1, 2], message_sizes=[3])
    outputs, state = levels(torch.randn(2, 2, 4), levels.initial_state(2))  # level 1 has just ticked
    named = dict(zip(state_names(levels), leaves(state), strict=True))
    assert named["phase"].flatten().tolist() == [0, 0]
    assert torch.equal(named["level_0_hidden"][-1], outputs[-1])
    assert torch.equal(named["message_0"], levels.condition[0](named["level_1_hidden"][-1]))
    assert not named["summary_0"].any()
    assert named["level_0_cell"].shape == named["level_0_hidden"].shape
    assert named["level_1_cell"].shape == named["level_1_hidden"].shape


def test_differences_are_reported_and_as_small_as_rounding(exported: Exported) -> None:
    files = {path.name for path in exported.folder.iterdir()} - {"config.json"}
    assert set(exported.differences) == files >= {"model.onnx"}
    assert all(0 <= difference < 1e-5 for difference in exported.differences.values())
    assert exported.differences["model.onnx"] > 0  # another library's kernels, rounded otherwise


def test_layers_are_operators_of_onnx_where_there_are_no_levels(exported: Exported) -> None:
    import onnx

    operators = {node.op_type for node in onnx.load(exported.folder / "model.onnx").graph.node}
    kind = type(exported.model.core).__name__.replace("SequentialCore", "LSTM")
    assert ("Scan" if kind == "HierarchicalCore" else kind) in operators


def test_files_hold_no_path_of_the_machine_that_wrote_them(exported: Exported) -> None:
    contents = [(exported.folder / "model.onnx").read_bytes()]
    if "model.pt2" in exported.differences:
        with ZipFile(exported.folder / "model.pt2") as archive:
            contents += [archive.read(name) for name in archive.namelist()]
    for content in contents:
        assert str(Path(sgrnn.__file__).parent).encode() not in content
        assert str(Path(torch.__file__).parent).encode() not in content


def test_the_model_itself_stays_as_it_was(exported: Exported) -> None:
    assert all(module.training for module in exported.model.modules())
    assert all(parameter.requires_grad for parameter in exported.model.parameters())
    assert isinstance(next(part for part in exported.model.modules() if isinstance(part, nn.RNNBase)), nn.RNNBase)


def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(layers._GATES, nn.GRU, (0, 1, 2))  # torch's order, which is not that of ONNX
    with pytest.raises(
        InputError, match=r"^model\.onnx does not compute what the model does: \w+ differs by 0\.\d+ at"
    ):
        sgrnn.export(gru(), tmp_path / "new", "onnx")
    assert not list(tmp_path.iterdir())


def test_random_numbers_drawn_afterwards_are_those_that_would_have_been_drawn(tmp_path: Path) -> None:
    model = gru()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    sgrnn.export(model, tmp_path / "new")
    assert torch.equal(torch.rand(2), expected)


def test_a_model_that_is_more_than_its_description_is_refused(tmp_path: Path) -> None:
    model = gru()
    torch.nn.utils.parametrizations.weight_norm(model.core.get_submodule("layers.0"), "weight_hh_l0")
    with pytest.raises(InputError, match=r"hooks or parametrizations cannot be exported, got some in core\.layers\.0"):
        sgrnn.export(model, tmp_path / "new")
    model = gru()
    model.output.register_parameter("scale", nn.Parameter(torch.ones(1)))
    with pytest.raises(InputError, match=r"parameters of its own cannot be exported, got output\.scale"):
        sgrnn.export(model, tmp_path / "new")
    model = gru()
    nn.init.constant_(model.output.bias, float("nan"))
    with pytest.raises(InputError, match=r"diverged cannot be exported, got .* in output\.bias"):
        sgrnn.export(model, tmp_path / "new")
    assert not list(tmp_path.iterdir())


def _doubled(model: sgrnn.LanguageModel) -> None:
    model.embedding = type("Doubled", (nn.Embedding,), {"forward": lambda self, tokens: 2 * self.weight[tokens]})(20, 6)


def _rectified(model: sgrnn.LanguageModel) -> None:
    model.core.layers[0] = nn.RNN(6, 6, nonlinearity="relu")  # pyright: ignore


def _bounded(model: sgrnn.LanguageModel) -> None:
    model.embedding = nn.Embedding(20, 6, max_norm=0.1)


def _deep(model: sgrnn.LanguageModel) -> None:
    model.output = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 20))


@pytest.mark.parametrize("change", [_doubled, _rectified, _bounded, _deep])
def test_parts_of_somebody_else_are_refused(tmp_path: Path, change: Callable[[sgrnn.LanguageModel], None]) -> None:
    model = sgrnn.LanguageModel(20, 6, sgrnn.RNN(6, 6), 6)
    change(model)
    with pytest.raises(InputError, match=r"^a model with (parts of somebody else's|an output of its own)"):
        sgrnn.export(model, tmp_path / "new")
    assert not any(tmp_path.iterdir())


def test_levels_beneath_another_core_take_their_steps_in_a_loop() -> None:
    levels = sgrnn.HierarchicalCore([sgrnn.GRU(3 + 2, 3), sgrnn.RNN(3, 2)], [1, 2])
    graph = Graph(sgrnn.LanguageModel(5, 3, sgrnn.SequentialCore([levels, sgrnn.LSTM(3, 3)]), 3))
    assert not graph.has_operators
