"""Tables, plots, videos and the page, read back as a reader would."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from data_modules.files import whole
from data_modules.text import Captions
from lightning_app.callbacks.report import remarks
from lightning_app.report.canvas import CONTEXT, PREDICTED
from lightning_app.report.drift import write_drift
from lightning_app.report.page import write_page
from lightning_app.report.scores import read_scores, write_scores
from lightning_app.report.table import Row, brief, build_table, counts, write_table
from lightning_app.report.video import film_strip, side_by_side, write_gif, write_mp4, write_png
from mssim.errors import UserError
from mssim.metrics.collect import Scores
from mssim.metrics.frames import NAMES
from mssim.metrics.intervals import Interval
from mssim.metrics.perceptual import Missing, VideoDistance

HEADING = {"seed": 3, "checkpoint": "best <EMA>.ckpt", "sampler": "dpm++ 10 steps"}


def scores_of(level: float, units: int = 5, **other: float) -> Scores:
    """Two windows a unit, four frames; errors differ by unit, and by `level` between rows."""
    rng = np.random.default_rng(0)
    unit = torch.arange(units).repeat_interleave(2)
    noise = torch.from_numpy(rng.uniform(0.5, 1.5, size=(2 * units, 4))).float()
    values = {name: noise * other.get(name, 0.5) for name in NAMES} | {"mse": noise * level}
    return Scores(torch.arange(2 * units), unit, values, torch.ones(2 * units, 4).bool())


def rows() -> dict[str, Scores]:
    still = scores_of(0.04, motion_predicted=0.0)
    return {"copy-last-frame": still, "model": scores_of(0.01), "no-action": scores_of(0.02)}


def video(frames: int = 6, size: int = 16, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (frames, size, size, 3), dtype=np.uint8)


def test_a_heading_says_what_one_step_draws_and_that_captions_read_ahead() -> None:
    assert remarks(2, None) == {}
    assert remarks(1, None) == {"drawn frames": "one step: conditional mean"}
    firm, loose = (Captions("sentence", ["pour"], np.array(g, np.int8)) for g in ([0, 1], [0, 0]))
    assert "predicted frames included" in remarks(2, firm)["captions"]
    # Where no caption says how firm a grip is, none tells of the future.
    assert remarks(2, loose) == remarks(2, Captions("phrase", ["pour"])) == {}


def test_table_holds_numbers_with_paired_intervals() -> None:
    table = build_table(rows())
    assert [row["row"] for row in table] == ["model", "copy-last-frame", "no-action"]
    model, copy, _ = table
    assert "model_minus_row" not in model["ci"]
    unit_mse = rows()["model"].values["mse"].reshape(5, 8).mean(dim=1).double().numpy()
    psnr = -10 * np.log10(unit_mse)
    assert model["psnr"] == pytest.approx(psnr.mean())
    t = stats.ttest_1samp(psnr, 0).confidence_interval(0.95)
    assert model["ci"]["psnr"] == pytest.approx([t.low, t.high])
    # The same errors, four times as large: 6.02 dB in every unit, so the pairs leave no width.
    assert copy["ci"]["model_minus_row"]["psnr"] == pytest.approx([6.0206] * 3, abs=1e-4)
    assert copy["motion"] == 0.0 and model["motion"] == pytest.approx(1.0)
    assert (model["n_windows"], model["n_units"]) == (10, 5)


def test_missing_numbers_say_why() -> None:
    small = {"model": scores_of(0.01, ssim=float("nan"), motion_true=0.0)}
    missing = Missing("no alexnet weights", "put them there")
    (row,) = build_table(small, lpips=missing, fvd=Missing("no I3D weights", "get them"))
    assert row["lpips"] == "no alexnet weights; put them there"
    assert row["fvd"] == "no I3D weights; get them"
    assert "11 px" in row["ssim"] and "no true motion" in row["motion"]
    (silent,) = build_table({"model": scores_of(0.01)})
    assert silent["lpips"].startswith("not measured") and silent["fvd"].startswith("not measured")


def full_table() -> list[Row]:
    scores = rows()
    for value in scores.values():
        value.values["lpips"] = value.values["mse"] * 2
    distance = VideoDistance(Interval(81.25, 70, 95), Interval(0.5, 0.25, 0.75), 10, 12)
    return build_table(scores, lpips="alex", fvd=dict.fromkeys(scores, distance))


def test_perceptual_numbers_say_what_they_depend_on(tmp_path: Path) -> None:
    table = full_table()
    assert table[0]["lpips"] == pytest.approx(2 * table[0]["mse"])
    assert table[0]["fvd"] == 81.25 and table[0]["ci"]["kvd"] == [0.25, 0.75]
    write_table(tmp_path, table, HEADING)
    text = (tmp_path / "metrics.md").read_text()
    assert "LPIPS (alex)" in text and "FVD (N=10, 12 frames)" in text
    assert "81.2 [70.0, 95.0]" in text


def test_a_column_without_any_value_is_left_out(tmp_path: Path) -> None:
    """LPIPS and FVD without their weights were columns of excuses."""
    table = build_table(rows(), lpips=Missing("no alexnet weights", "put them there"))
    write_table(tmp_path, table, HEADING)
    text = (tmp_path / "metrics.md").read_text()
    grid = [line for line in text.splitlines() if line.startswith("|")]
    assert grid and not any("LPIPS" in line or "weights" in line for line in grid)
    assert "- no alexnet weights; put them there" in text
    page = write_page(tmp_path, "run", {}).read_text()
    assert "LPIPS" not in page and "<li>no alexnet weights; put them there</li>" in page
    assert "lpips" not in (tmp_path / "metrics.csv").read_text().splitlines()[0]


def test_a_terminal_shows_what_decides_and_where_the_rest_is() -> None:
    """All columns of all rows, 300 characters wide, were printed by `test`."""
    scores = rows() | {"held-action": scores_of(0.03), "another": scores_of(0.05)}
    table = build_table(scores)
    *lines, where = brief(table, Path("runs/a")).splitlines()
    assert [line.split()[0] for line in lines[:5]] == [
        "row", "model", "copy-last-frame", "no-action", "held-action",
    ]  # fmt: skip
    assert max(map(len, lines)) < 80
    gap = table[1]["ci"]["model_minus_row"]["psnr"]
    assert f"{gap[0]:+.2f} [{gap[1]:+.2f}, {gap[2]:+.2f}]" in lines[2]
    assert "1 more row, " in where and "runs/a/metrics.md" in where


def test_one_unit_is_one_unit() -> None:
    assert counts(build_table({"model": scores_of(0.01, units=1)})).startswith(
        "2 windows of 1 unit."
    )


def test_table_files_agree(tmp_path: Path) -> None:
    table = build_table(rows(), lpips=Missing("no alexnet weights", "put them there"))
    write_table(tmp_path, table, HEADING)
    assert json.loads((tmp_path / "metrics.json").read_text()) == table
    with (tmp_path / "metrics.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["row"] for line in lines] == [row["row"] for row in table]
    assert float(lines[1]["psnr_low"]) == table[1]["ci"]["psnr"][0]
    gap = table[1]["ci"]["model_minus_row"]["psnr"]
    assert float(lines[1]["model_minus_row_psnr_high"]) == gap[2]
    text = (tmp_path / "metrics.md").read_text()
    for key, value in HEADING.items():
        assert f"- {key}: {value}" in text
    assert "Predicted frames only, in [0, 1], rounded to the 256 levels" in text
    assert "10 windows of 5 units" in text
    low, high = table[0]["ci"]["psnr"]
    assert f"{table[0]['psnr']:.2f} [{low:.2f}, {high:.2f}]" in text
    assert f"{gap[0]:+.2f} [{gap[1]:+.2f}, {gap[2]:+.2f}]" in text
    assert "- no alexnet weights; put them there" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "metrics.csv",
        "metrics.json",
        "metrics.md",
    ]


def test_one_unit_has_no_interval_and_json_stays_json(tmp_path: Path) -> None:
    table = build_table(
        {name: scores_of(0.01 * i, units=1) for i, name in ((1, "model"), (2, "b"))}
    )
    assert table[0]["ci"]["psnr"] == [None, None]
    write_table(tmp_path, table, {})
    assert "NaN" not in (tmp_path / "metrics.json").read_text()
    assert "[no interval]" in (tmp_path / "metrics.md").read_text()


def test_rows_of_other_units_are_refused() -> None:
    with pytest.raises(UserError, match="same windows"):
        build_table({"model": scores_of(0.01), "b": scores_of(0.01, units=4)})
    with pytest.raises(ValueError, match="'model'"):
        build_table({"b": scores_of(0.01)})


def test_raw_scores_come_back(tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    write_scores(path, rows())
    back = read_scores(path)
    assert build_table(back) == build_table(rows())
    for name, scores in rows().items():
        assert torch.equal(back[name].window, scores.window)
        assert torch.equal(back[name].mask, scores.mask)
        assert back[name].values.keys() == scores.values.keys()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="run `mssim test` again"):
        read_scores(path)
    with pytest.raises(UserError, match=r"scores\.npz"):
        read_scores(tmp_path / "no" / "scores.npz")


def test_drift_plot_draws_every_row(tmp_path: Path) -> None:
    path = tmp_path / "drift.png"
    write_drift(path, {"copy-last-frame": scores_of(0.04)})
    alone = np.asarray(Image.open(path).convert("RGB"))
    write_drift(path, {**rows(), "another": scores_of(0.03)}, interval=0.1)
    every = np.asarray(Image.open(path).convert("RGB"))
    red = np.array([209, 73, 91])
    assert (np.abs(alone.astype(int) - red).sum(-1) < 12).sum() == 0
    assert (np.abs(every.astype(int) - red).sum(-1) < 12).sum() > 500
    assert [p.name for p in tmp_path.iterdir()] == ["drift.png"]


def test_frames_show_truth_prediction_context_and_cursor() -> None:
    true, predicted = video(seed=1), video(seed=2)
    traces = {"arm": np.random.default_rng(0).normal(size=(6, 4)), "touch": np.eye(6, 40)}
    frames = list(side_by_side(true, predicted, 2, traces, scale=4))
    assert len(frames) == 6
    assert len({f.shape for f in frames}) == 1
    height, width = frames[0].shape[:2]
    assert height % 2 == 0 and width % 2 == 0
    tile, top = 16 * 4 + 8, 26
    cursors = []
    for i, frame in enumerate(frames):
        for picture, x in ((true[i], 12 + 4), (predicted[i], 12 + tile + 12 + 4)):
            shown = frame[top + 4 : top + 4 + 64, x : x + 64]
            assert np.array_equal(shown[2::4, 2::4], picture)
        border = CONTEXT if i < 2 else PREDICTED
        assert tuple(frame[top + 1, 12 + tile + 12 + 20]) == border
        assert tuple(frame[top + 1, 20]) == CONTEXT
        lower = (frame[top + tile + 14 :] == PREDICTED).all(-1).mean(axis=0)
        cursors.append(int(lower.argmax()))
    assert cursors == sorted(set(cursors))


def test_silent_and_steady_senses_are_drawn() -> None:
    steady = {"still": np.ones((6, 3)), "absent": np.full((6, 100), np.nan)}
    assert len(list(side_by_side(video(), video(), 2, steady))) == 6
    bare = next(side_by_side(video(), video(), 2, {}))
    assert bare.shape[0] < next(side_by_side(video(), video(), 2, steady)).shape[0]
    assert bare.shape[1] >= 2 * 256


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        next(side_by_side(video(5), video(6), 2, {}))
    with pytest.raises(ValueError, match="trace arm has 3 rows for 6"):
        next(side_by_side(video(), video(), 2, {"arm": np.zeros((3, 1))}))


def test_mp4_comes_back_with_its_size_length_and_colours(tmp_path: Path) -> None:
    frames = list(side_by_side(video(9), video(9), 4, {"arm": np.zeros((9, 2))}))
    path = tmp_path / "rollouts" / "a.mp4"
    write_mp4(path, iter(frames), fps=10)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == 10
        back = [f.to_ndarray(format="rgb24") for f in file.decode(stream)]
    assert len(back) == 9
    for got, want in zip(back, frames, strict=True):
        assert got.shape == want.shape
        assert np.abs(got.astype(int) - want).mean() < 12
    head = path.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")
    with pytest.raises(ValueError, match="even"):
        write_mp4(path, [np.zeros((15, 16, 3), np.uint8)], 10)
    with pytest.raises(UserError, match="no frames"):
        write_mp4(path, [], 10)


def test_gif_comes_back(tmp_path: Path) -> None:
    frames = list(side_by_side(video(5), video(5, seed=1), 2, {}, scale=4))
    path = tmp_path / "a.gif"
    write_gif(path, iter(frames), fps=10)
    with Image.open(path) as image:
        assert (image.n_frames, image.info["loop"], image.info["duration"]) == (5, 0, 100)
        image.seek(4)
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - frames[4]).mean() < 15


def test_film_strip_shows_first_and_last_frames(tmp_path: Path) -> None:
    true, predicted = video(20, seed=1), video(20, seed=2)
    strip = film_strip(true, predicted, 4, columns=5, scale=2)
    for column, frame in enumerate((0, 5, 10, 14, 19)):
        x = 84 + column * (32 + 4)
        assert np.array_equal(strip[8:40:2, x : x + 32 : 2], true[frame])
        assert np.array_equal(strip[44:76:2, x : x + 32 : 2], predicted[frame])
    write_png(tmp_path / "strip.png", strip)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "strip.png")), strip)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_mp4(path, video(3), 10)
    before = path.read_bytes()

    def breaks() -> Iterator[NDArray[np.uint8]]:
        yield video(1)[0]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_mp4(path, breaks(), 10)
    with pytest.raises(OSError, match="disk full"), whole(tmp_path / "b.png") as temporary:
        temporary.write_bytes(b"half")
        raise OSError("disk full")
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == before
