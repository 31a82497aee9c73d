"""The verdict on a run's gradients: what was measured, and what it comes to beside the run's own window."""

from pathlib import Path

import pytest
from made_up import make_diagnosis, make_run

from sgrnn.analysis.verdict import worth

_SPANS = "as far as these spans tell"


@pytest.mark.parametrize(
    ("value", "error", "own", "expected"),
    [
        (6.0, 0.3, 5, "worth a window of 6.0 ± 0.3, its own is 5: a little"),
        (5.5, 0.3, 5, f"worth a window of 5.5 ± 0.3, its own is 5: no more than plain truncation, {_SPANS}"),
        (4.7, 0.3, 5, f"worth a window of 4.7 ± 0.3, its own is 5: no more than plain truncation, {_SPANS}"),
        (4.2, 0.3, 5, "worth a window of 4.2 ± 0.3, its own is 5: less than plain truncation, it does harm"),
        (5.0 - 1e-7, 0.0, 5, f"worth a window of 5.0 ± 0.0, its own is 5: no more than plain truncation, {_SPANS}"),
        (9.0, 0.5, 5, "worth a window of 9.0 ± 0.5, its own is 5: clearly"),
        (15.1, 1.0, 5, "worth a window of 15.1 ± 1.0, its own is 5: a lot"),
    ],
)
def test_a_window_beside_its_own(tmp_path: Path, value: float, error: float, own: int, expected: str) -> None:
    run, diagnosis = make_run(tmp_path / "mine", [], f"--gradient.window={own}"), make_diagnosis()
    diagnosis["bias"]["windows"] = [1, own, 20]
    diagnosis["bias"]["equivalent_window"] |= {"value": value, "error": error}
    assert worth(run, diagnosis) == expected


def test_a_window_beyond_those_that_were_compared(tmp_path: Path) -> None:
    synthetic = make_run(tmp_path / "synthetic", [], "--gradient.window=4")
    full = make_run(tmp_path / "full", [], "--gradient.kind=bptt")
    truncated = make_run(tmp_path / "truncated", [], "--gradient.kind=truncated", "--gradient.window=4")
    diagnosis = make_diagnosis()
    diagnosis["bias"]["equivalent_window"] |= {"value": 4.0, "error": 0.0}
    assert worth(truncated, diagnosis) == "worth a window of 4.0 ± 0.0, its own is 4: plain truncation"
    diagnosis["bias"]["equivalent_window"]["outside"] = "more"
    assert worth(synthetic, diagnosis) == "worth a window of more than 4, its own is 4: a little"
    assert worth(full, diagnosis) == "worth a window of more than 4, its own is the whole span"
    diagnosis["bias"]["equivalent_window"] |= {"value": 1.0, "error": 0.0, "outside": "less"}
    assert worth(synthetic, diagnosis) == (
        "worth a window of less than 1, its own is 4: less than plain truncation, it does harm"
    )


@pytest.mark.parametrize(("value", "error", "own", "estimator"), [(1.0, 0.2, 1, 0.801), (4.0, 1.0, 4, 0.099)])
def test_an_end_of_the_windows_is_no_verdict_within_noise(
    tmp_path: Path, value: float, error: float, own: int, estimator: float
) -> None:
    run, diagnosis = make_run(tmp_path / "mine", [], f"--gradient.window={own}"), make_diagnosis()
    diagnosis["bias"]["relative_error"]["value"][0][0] = estimator  # T=1: 0.8, T=4: 0.1
    diagnosis["bias"]["equivalent_window"] |= {"value": value, "error": error}
    assert worth(run, diagnosis) == (
        f"worth a window of {value} ± {error}, its own is {own}: no more than plain truncation, {_SPANS}"
    )


def test_a_window_beyond_the_episodes_does_no_harm(tmp_path: Path) -> None:
    run, diagnosis = make_run(tmp_path / "mine", [], "--gradient.window=8"), make_diagnosis()
    diagnosis["bias"]["equivalent_window"] |= {"value": 4.0, "error": 0.0}
    assert worth(run, diagnosis) == (
        f"worth a window of 4.0 ± 0.0, its own is 8: no more than plain truncation, {_SPANS}"
    )


def test_what_is_not_known_is_said_with_the_command_that_measures_it(tmp_path: Path) -> None:
    run, diagnosis = make_run(tmp_path / "mine"), make_diagnosis()
    assert worth(run, None) == (
        f"not diagnosed, so what its gradients are worth is not known: `sgrnn diagnose {run.folder}`"
    )
    for value, error in ((None, None), (3.0, 1.6), (3.0, None)):
        diagnosis["bias"]["equivalent_window"] |= {"value": value, "error": error}
        assert worth(run, diagnosis) == (
            "what its gradients are worth is not known from 30 spans: take more, "
            f"`sgrnn diagnose {run.folder} --spans 60`"
        )
    online = make_run(tmp_path / "online", [], "--gradient.kind=rtrl")
    assert worth(online, None) == "rtrl looks back without a window: there is none to compare it with"
