"""What `cost.py` weighs: rivals, shapes and budgets of memory, as a recipe and overrides of it."""

from collections.abc import Sequence
from typing import NamedTuple

from frame import Condition, Record
from texts import ESTIMATORS, LARGER, OF, SPAN, TASKS, WORDS

from sgrnn.config.files import parse_recipe
from sgrnn.config.recipe import Recipe
from sgrnn.errors import InputError

LONGER = SPAN + 8  # as many steps beyond a span as a synthesizer sees


class Rival(NamedTuple):
    """An estimator.

    Args:
        overrides: of a recipe.
        budgets: of memory with which it is weighed (`WAYS`).
        windows: at which alone it is weighed; none for all that are asked for.
        numbers: (rival, window) that is trained in its place, its numbers being the same.
        learning: what it takes as long as while its synthesizer learns in every update; "" for itself.
        weighed: False for a control, which is trained alone.
    """

    overrides: list[str]
    budgets: tuple[str, ...] = ("any", "window")
    windows: tuple[int, ...] = ()
    numbers: tuple[str, int] | None = None
    learning: str = ""
    weighed: bool = True


DIAGONAL = [*ESTIMATORS["synthetic"], f"{OF}kind=diagonal"]
RARELY = ["--gradient.learn_every=8"]
RIVALS = {
    "truncated": Rival(ESTIMATORS["truncated"]),
    "longer": Rival(ESTIMATORS["truncated"], ("any",), (LONGER,)),
    "exact ahead": Rival(ESTIMATORS["exact ahead"], ("any",), (SPAN,)),
    "checkpointed": Rival(["--gradient.kind=checkpointed"], ("window",), numbers=("truncated", SPAN)),
    "checkpointed, longer": Rival(
        ["--gradient.kind=checkpointed", f"--training.span={LONGER}"], ("window",), numbers=("longer", LONGER)
    ),
    "synthetic": Rival(ESTIMATORS["synthetic"]),
    "large": Rival(LARGER),
    "large, targets": Rival([*LARGER, "--gradient.ahead=targets"]),
    "diagonal": Rival(DIAGONAL),
    "synthetic, every 8th": Rival([*ESTIMATORS["synthetic"], *RARELY], learning="synthetic"),
    "diagonal, every 8th": Rival([*DIAGONAL, *RARELY], learning="diagonal"),
    "shuffled": Rival(ESTIMATORS["shuffled"], ("any",), weighed=False),
}  # fmt: skip
_OF_SPANS = ("longer", "exact ahead", "checkpointed", "checkpointed, longer", "shuffled")
OF_STREAMS = {
    **{name: RIVALS[name] for name in RIVALS if name not in _OF_SPANS},
    **{
        f"TBPTT(1, {steps})": Rival(["--gradient.kind=truncated", f"--gradient.window={steps}", "--gradient.every=1"])
        for steps in (8, 32)
    },
}
WAYS = {
    "any": (("kept", []),),
    "window": (
        ("freed", ["--gradient.low_memory=true"]),
        ("in order", ["--gradient.parallel=false"]),
        ("its own", []),
    ),
}
"""For each budget of memory what becomes of windows' graphs, with overrides, the first that an estimator has."""


class Shape(NamedTuple):
    """A model and its text.

    Args:
        task: of `texts.TASKS`.
        overrides: of the recipe of words.
        updates: of a turn when it is timed.
        evaluate_every: updates between two points of the curve; None for a stream, which is not trained.
        max_updates: of spans of `SPAN` steps, after which training stops before its epoch is over.
    """

    task: str
    overrides: list[str]
    updates: int
    evaluate_every: int | None
    max_updates: int | None = None


def _adam(task: str) -> list[str]:
    return [*TASKS[task].overrides, f"--optimizer.learning_rate={TASKS[task].rate}"]


def _deep(layers: int, units: int, bound: float) -> list[str]:
    """Return the overrides of more than one layer, which do not train well with Adam."""
    sgd = ["--optimizer.kind=sgd", "--optimizer.learning_rate=20", "--training.clip=0.25"]
    size = [f"--model.num_layers={layers}", f"--model.hidden_size={units}", f"--model.initial_range={bound}"]
    return [*TASKS["words"].overrides, *sgd, *size]


def _stream(units: int, rows: int) -> Shape:
    size = [f"--model.hidden_size={units}", f"--training.batch_size={rows}", "--training.span=1"]
    return Shape("characters", [*_adam("characters"), *size], 50, None)


WIDE = ["--model.hidden_size=512", "--model.embedding_size=64"]
SHAPES = {
    "2x200": Shape("words", _deep(2, 200, 0.1), 8, 400),
    "1x128": Shape("characters", _adam("characters"), 16, 560),
    "1x512": Shape("characters", [*_adam("characters"), *WIDE], 3, 560),
    "2x650": Shape("words", _deep(2, 650, 0.05), 2, 400),
    "3x1150": Shape("words", _deep(3, 1150, 0.04), 1, 78, 232),
    "1x200": Shape("words", _adam("words"), 8, 400),
    "stream of 64": _stream(64, 8),
    "stream of 256": _stream(256, 32),
}


class Place(NamedTuple):
    """A line of a table."""

    shape: str
    estimator: str
    window: int
    budget: str

    @property
    def rival(self) -> Rival:
        """The estimator, as it is described."""
        return (RIVALS if SHAPES[self.shape].evaluate_every else OF_STREAMS)[self.estimator]

    @property
    def trained(self) -> "Place":
        """The place whose training this one's would repeat, budgets of memory changing no number."""
        estimator, window = self.rival.numbers or (self.estimator, self.window)
        return Place(self.shape, estimator, window, "any")

    @property
    def while_learning(self) -> "Place":
        """The place that takes as long as this one while its synthesizer learns in every update."""
        return self._replace(estimator=self.rival.learning or self.estimator)


def reference(shape: str) -> Place:
    """Return the place whose time is the unit: truncation at the whole span, or at a stream's one step."""
    return Place(shape, "truncated", SPAN if SHAPES[shape].evaluate_every else 1, "any")


def places(shape: str, estimators: Sequence[str], any_memory: Sequence[int], windows: Sequence[int]) -> list[Place]:
    """Return the lines of a shape's table, the reference first, but for those that the recipe has no words for."""
    if SHAPES[shape].evaluate_every is None:
        found = [Place(shape, name, 1, "any") for name in OF_STREAMS if name in estimators or name not in RIVALS]
    else:
        asked = {"any": any_memory, "window": windows}
        found = [
            Place(shape, name, window, budget)
            for budget in WAYS for name in estimators if budget in RIVALS[name].budgets
            for window in RIVALS[name].windows or asked[budget]
        ]  # fmt: skip
    return _accepted(list(dict.fromkeys([reference(shape), *found])))


def _accepted(asked: list[Place]) -> list[Place]:
    """Return the places that a recipe can say; of an estimator that it cannot, tell what it says against it."""
    accepted: list[Place] = []
    refused: dict[str, InputError] = {}
    for place in asked:
        try:
            recipe_of(place)
            accepted.append(place)
        except InputError as error:
            refused.setdefault(place.estimator, error)
    for name, error in refused.items():
        print(f"left out, {name}: {str(error).splitlines()[0]}", flush=True)
    return accepted


def recipe_of(place: Place, seed: int = 0, max_updates: int | None = None) -> tuple[Recipe, str]:
    """Return the recipe of a place, and what becomes of the graphs of its windows.

    Raises:
        InputError: the recipe does not know the estimator.
    """
    shape = SHAPES[place.shape]
    overrides = [*shape.overrides, f"--training.seed={seed}", f"--gradient.window={place.window}"]
    if shape.evaluate_every is not None:
        span = max(SPAN, place.trained.window)
        overrides += [f"--training.span={span}", f"--training.evaluate_every={shape.evaluate_every}"]
        if most := max_updates or shape.max_updates:
            overrides += [f"--training.max_updates={round(most * SPAN / span)}"]
    *others, last = WAYS[place.budget]
    name = Condition(fields_of(place)).name
    for graphs, way in others:
        try:
            return parse_recipe(WORDS, name, overrides=[*overrides, *place.rival.overrides, *way]), graphs
        except InputError:  # an estimator that has no such option
            continue
    return parse_recipe(WORDS, name, overrides=[*overrides, *place.rival.overrides, *last[1]]), last[0]


def fields_of(place: Place) -> Record:
    """Return the fields of a place in a record."""
    return {"task": SHAPES[place.shape].task, **place._asdict()}
