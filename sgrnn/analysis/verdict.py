"""Verdict on a run's gradients, in a sentence: the window of plain truncation that is as good, beside its own."""

from typing import Any

from sgrnn.analysis.comparison import is_plain
from sgrnn.analysis.diagnosis import own_window
from sgrnn.config.gradient import DecoupledConfig, OnlineConfig
from sgrnn.diagnostics.estimates import is_unknown
from sgrnn.errors import quoted
from sgrnn.training.checkpoints import best_update
from sgrnn.training.run import Run

_LITTLE, _MUCH = 1.5, 3.0  # times the own window
_ROUNDING = 0.05  # of a window that is shown to a decimal


def worth(run: Run, diagnosis: dict[str, Any] | None) -> str:
    """Return what a run's gradients are worth.

    Args:
        run: the run.
        diagnosis: as `sgrnn.analysis.diagnosis.diagnose` measures it; None where it has not.

    Returns:
        For example "worth a window of 6.0 ± 0.3, its own is 5: a little". The last words compare the two windows:
        "no more" within two standard errors, else "a little" up to 1.5 times, "clearly" up to 3 times, "a lot" beyond.
    """
    if isinstance(run.recipe.gradient, OnlineConfig):
        return f"{run.recipe.gradient.kind} looks back without a window: there is none to compare it with"
    if isinstance(run.recipe.gradient, DecoupledConfig):
        return "decoupled gradients cross layers and not steps: there is no window to compare them with"
    if diagnosis is None:
        return f"not diagnosed, so what its gradients are worth is not known: `sgrnn diagnose {quoted(run.folder)}`"
    bias, own = diagnosis["bias"], own_window(run)
    value, error = (bias["equivalent_window"][name] for name in ("value", "error"))
    outside = bias["equivalent_window"].get("outside")  # older diagnoses do not say
    if value is None or error is None or is_unknown(value, error):
        more = f"`sgrnn diagnose {quoted(run.folder)} --spans {2 * diagnosis['spans']}`"
        return f"what its gradients are worth is not known from {diagnosis['spans']} spans: take more, {more}"
    if outside == "more":
        text, value, error = f"worth a window of more than {bias['windows'][-1]}", bias["windows"][-1] + 1, 0.0
    elif outside == "less":
        text, value, error = f"worth a window of less than {bias['windows'][0]}", 0.0, 0.0
    else:
        text = f"worth a window of {value:.1f} ± {error:.1f}"
    if own is None:
        return f"{text}, its own is the whole span{_age(run, diagnosis)}"
    within = min(own, bias["windows"][-1])  # of a longer window no more can be seen
    compared = "plain truncation" if is_plain(run) else _compared(value, error, within)
    return f"{text}, its own is {own}: {compared}{_age(run, diagnosis)}"


def _age(run: Run, diagnosis: dict[str, Any]) -> str:
    """Return a note on a diagnosis of another checkpoint than today's best."""
    best = best_update(run.checkpoints)
    if best is None or best == diagnosis["update"]:
        return ""
    return f" (at update {diagnosis['update']:,}; the best is now {best:,}: `sgrnn diagnose {quoted(run.folder)}`)"


def _compared(value: float, error: float, own: int) -> str:
    if value + 2 * error < own - _ROUNDING:
        return "less than plain truncation, it does harm"
    if value - 2 * error <= own + _ROUNDING:
        return "no more than plain truncation, as far as these spans tell"
    return "a little" if value < _LITTLE * own else "clearly" if value < _MUCH * own else "a lot"
