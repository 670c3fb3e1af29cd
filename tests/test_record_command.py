"""`mssim record`: from the command line to what `prepare` and `data` take for ActionSense."""

from pathlib import Path

import pytest

from lightning_app.cli import main


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that `mssim record WORDS` stops with."""
    with pytest.raises(SystemExit) as stop:
        main(["record", *(str(w) for w in words)])
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and said.startswith("mssim: ")
    return said.removeprefix("mssim: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--subjects", "S00,S06"), "subjects: no 'S06' in the kitchen; it has S00, S01, S02"),
        (("--subjects", ","), "subjects: no '' in the kitchen"),
        (("--subjects", "S00,S00"), "subjects: S00,S00 names one twice; name each once"),
        (("--minutes", 0), "minutes: 0.0 a subject must be above 0 and at most 600"),
        (("--fps", 0.5), "fps: 0.5 frames a second must be 1 to 60"),
        (("--fps", 61), "fps: 61.0 frames a second must be 1 to 60"),
        (("--size", 4), "size: 4 pixels a side must be 8 to 1024"),
        (("--seed", -1), "seed: -1 must be 0 or more"),
        (("--jobs", 0), "jobs: 0 processes cannot record; give 1 or more"),
    ],
)
def test_a_wrong_argument_is_told_by_name_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[object, ...], said: str
) -> None:
    assert refused(capsys, "--out", tmp_path / "set", *words).startswith(said)
    assert not (tmp_path / "set").exists()


def test_no_room_is_told_before_starting(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SystemExit):
        main(["record", "--out", str(tmp_path / "set"), "--subjects", "S00"])
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert " MB needed, 1 MB free; make room, or choose another folder" in last


def test_a_set_is_recorded_shown_prepared_and_not_recorded_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out, stores = tmp_path / "set", tmp_path / "stores"
    words = ["record", "--out", str(out), "--subjects", "S00,S05", "--minutes", "0.02"]
    words += ["--size", "16", "--seed", "3"]
    main([*words, "--jobs", "2"])
    assert "2 recordings" in capsys.readouterr().out
    times = {p: p.stat().st_mtime_ns for p in out.glob("*/*/*")}
    assert len(times) == 6
    main(words)
    assert {p: p.stat().st_mtime_ns for p in out.glob("*/*/*")} == times
    assert refused(capsys, *words[1:-2], "--seed", "4").startswith(
        f"seed: {out} was recorded with 3"
    )

    main(["prepare", str(out), "--out", str(stores), "--size", "16"])
    assert "2 of 2 recordings" in capsys.readouterr().out
    main(["data", str(out), "--out", str(tmp_path), "--store", str(stores), "--size", "16"])
    told = capsys.readouterr().out
    assert "2 recordings" in told and "subjects S00 (1), S05 (1)" in told
    assert (tmp_path / "set.png").exists()
