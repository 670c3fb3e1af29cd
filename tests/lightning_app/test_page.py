"""The page, read back as a reader would."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from test_report import HEADING, full_table, rows, scores_of, video
from torch.utils.tensorboard import SummaryWriter

from lightning_app.report.curve import CURVE, write_curve
from lightning_app.report.drift import write_drift
from lightning_app.report.page import STYLE, write_clip, write_page
from lightning_app.report.table import build_table, write_table
from lightning_app.report.video import write_gif, write_mp4, write_png
from mssim.errors import UserError


class _Links(HTMLParser):
    """Collects links, and checks that every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [v for k, v in attrs if k in ("src", "href") and v is not None]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def links(page: Path) -> list[str]:
    parser = _Links()
    parser.feed(page.read_text())
    assert not parser.open
    return parser.found


def test_page_holds_the_table_and_links_to_what_is_there(tmp_path: Path) -> None:
    table = full_table()
    write_table(tmp_path, table, HEADING)
    write_drift(tmp_path / "drift.png", rows())
    folder = tmp_path / "rollouts"
    write_mp4(folder / "unit 3#a.mp4", video(3), 10)
    write_gif(folder / "unit 3#a.gif", video(3), 10)
    write_png(folder / "strip.png", video(1)[0])
    (folder / ".half.mp4").write_bytes(b"")
    (folder / "notes.txt").write_text("no media")
    page = write_page(tmp_path, "A run & more", HEADING)
    text = page.read_text()
    assert page == tmp_path / "index.html"
    assert "<h1>A run &amp; more</h1>" in text and "best &lt;EMA&gt;.ckpt" in text
    want = ["metrics.md", "metrics.csv", "metrics.json", "drift.png"]
    want += [f"rollouts/{name}" for name in ("unit%203%23a.mp4", "unit%203%23a.gif", "strip.png")]
    assert list(dict.fromkeys(links(page))) == want
    for row in table:
        assert f">{row['row']}</th>" in text
        assert f"<td>{row['psnr']:.2f}<small>" in text
    assert "http" not in re.sub(r"<li>.*?</li>", "", text)  # nothing is fetched


def test_page_works_with_whatever_is_there(tmp_path: Path) -> None:
    page = write_page(tmp_path, "Empty", {})
    assert links(page) == []
    for command in ("test", "predict"):
        assert f"<code>mssim {command} --config {tmp_path}/config.yaml</code>" in page.read_text()
    write_table(tmp_path, build_table({"model": scores_of(0.01)}), {})
    text = write_page(tmp_path, "Table", {}).read_text()
    assert "Mean over units" in text and "Model minus row" not in text and "<img" not in text
    assert "<li>not measured; run `mssim test` with it</li>" in text
    for broken in ("{", "[]", '[{"row": "model"}]', "3"):
        (tmp_path / "metrics.json").write_text(broken)
        with pytest.raises(UserError, match=r"metrics\.json is not a metric table"):
            write_page(tmp_path, "Broken", {})


def test_captions_say_who_does_what_and_how_well(tmp_path: Path) -> None:
    """They were file names such as `kitchen 2022-06-07 17-18-17 S05-3`."""
    stem = tmp_path / "rollouts" / "a"
    for suffix in (".mp4", "-senses.png"):
        stem.parent.mkdir(exist_ok=True)
        stem.with_name(f"a{suffix}").write_bytes(b"")
    write_clip(stem, "slice a <cucumber>", "S05", 23.456)
    text = write_page(tmp_path, "run", {}).read_text()
    assert "<figcaption>slice a &lt;cucumber&gt;, S05: 23.46 dB (" in text
    assert "<figcaption>slice a &lt;cucumber&gt;, S05: what each sense adds (" in text
    write_clip(stem, "", "S05", float("inf"))
    assert "<figcaption>no label, S05 (" in write_page(tmp_path, "run", {}).read_text()


def test_the_page_is_as_narrow_as_a_telephone() -> None:
    """A grid's column of 22rem and its margins were wider than 390 px."""
    tracks = re.findall(r"minmax\(([^,]*(?:\([^)]*\))?),", STYLE)
    assert tracks and all(t.startswith("min(") or t == "0" for t in tracks), tracks
    widths = re.findall(r"(?<!max-)\bwidth:\s*([\d.]+)(rem|px)", STYLE)
    assert not [w for w, unit in widths if float(w) * (16 if unit == "rem" else 1) > 390 - 2 * 16]
    assert "overflow-wrap: anywhere" in STYLE.split("}")[4]


def test_the_learning_curve_is_drawn_from_the_logs(tmp_path: Path) -> None:
    assert not write_curve(tmp_path)
    writer = SummaryWriter(str(tmp_path / "logs"))
    for step in range(20):
        writer.add_scalar("train/loss", 1 / (1 + step), step)
    writer.close()
    assert write_curve(tmp_path)
    low = Image.open(tmp_path / CURVE).size[1]
    with SummaryWriter(str(tmp_path / "logs"), filename_suffix=".more") as more:
        more.add_scalar("val/psnr", 20.0, 19)
    assert write_curve(tmp_path) and Image.open(tmp_path / CURVE).size[1] > low
    text = write_page(tmp_path, "run", {}).read_text()
    assert "<a href='learning.png'>" in text and "tensorboard --logdir" in text
