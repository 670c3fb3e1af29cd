"""Ctrl-C and SIGTERM: a training keeps its last whole step, and goes on from there, bit by bit."""

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import assert_same, checkpoint, fit, write_config

from lightning_app.callbacks.keep import validation_is_due
from lightning_app.modules.simulator import Simulator


@pytest.mark.parametrize(
    ("number", "method", "call", "step"),
    [
        (signal.SIGINT, "training_step", 1, 2),
        # Validation is due at the step that is finished: after resuming, it is done.
        (signal.SIGTERM, "training_step", 2, 3),
        (signal.SIGINT, "training_step", 4, 5),
        (signal.SIGTERM, "validation_step", 0, 3),
        (signal.SIGINT, "validation_step", 0, 3),
    ],
)
def test_a_signal_keeps_the_last_step_and_says_how_to_go_on(
    number: signal.Signals,
    method: str,
    call: int,
    step: int,
    toy: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, calls, real = write_config(tmp_path, toy), itertools.count(), getattr(Simulator, method)

    def signalled(*args: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), number)
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Simulator, method, signalled)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            fit(config, tmp_path / "run", 6)
    assert end.value.code == 128 + number
    line = capsys.readouterr().err.strip().splitlines()[-1]
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    name = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}[number]
    assert line.startswith(f"mssim: stopped by {name}; ")
    if method == "training_step":
        assert line.endswith(f"{last} is saved at step {step}, and the same command goes on")
    assert checkpoint(tmp_path / "run")["global_step"] == step
    fit(config, tmp_path / "run", 6)
    assert_same(trained, tmp_path / "run")
    assert_same(trained, tmp_path / "run", "best")


def test_a_run_stopped_before_its_last_validation_does_not_hide_that(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, toy)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Simulator, "validation_step", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        fit(config, tmp_path / "run", 3)
    capsys.readouterr()
    fit(config, tmp_path / "run", 3)
    said = capsys.readouterr().out
    assert "training is finished, at step 3 (if a validation was due then, it was cut off)" in said
    fit(config, tmp_path / "run", 4)  # which does it first
    best = checkpoint(tmp_path / "run", "best")
    assert best["global_step"] == 3 and not validation_is_due(best)


def test_a_second_signal_does_not_wait_for_the_step_s_end(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, seen = write_config(tmp_path, toy), []

    def signalled(*_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        seen.append("first")
        os.kill(os.getpid(), signal.SIGINT)
        seen.append("second")

    monkeypatch.setattr(Simulator, "training_step", signalled)
    with pytest.raises(SystemExit) as end:
        fit(config, tmp_path / "run", 6)
    assert end.value.code == 130 and seen == ["first"]
