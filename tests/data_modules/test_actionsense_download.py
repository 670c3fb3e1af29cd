"""ActionSense as downloaded: not every recording has its video, not every person is there."""

from pathlib import Path

import pytest
from helpers.actionsense_load import ALL
from helpers.actionsense_writer import Quirks, write_actionsense

from data_modules.commands import data
from data_modules.module import DataModule
from data_modules.sources.actionsense import ActionSenseSource
from data_modules.splits import SourceConfig, Split
from mssim.errors import UserError


def download(folder: Path) -> Path:
    """S01 as it comes, without its video; S02 and S05 whole; nobody else."""
    write_actionsense(folder, "S01", 1.0, quirks=Quirks(video=False))
    for subject in ("S02", "S05"):
        write_actionsense(folder, subject, 5.0)
    return folder


def module(folder: Path, stores: Path, **split: list[str]) -> DataModule:
    config = SourceConfig(ActionSenseSource(folder), Split("subject", **split))
    return DataModule({"body": config}, ALL, size=16, context=2, predict=2, store=stores)


def test_data_works_where_s01_has_no_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command ended in "the world video is missing"."""
    download(tmp_path / "set")
    # What was looked at before is told of as well.
    for _ in range(2):
        data(tmp_path / "set", tmp_path / "out", tmp_path / "stores", size=16)
        told = capsys.readouterr()
        assert "2 recordings" in told.out and "S01 (" not in told.out
        assert "S01.hdf5: skipped, its world video" in told.out + told.err


def test_a_split_goes_without_a_person_who_is_not_there_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = download(tmp_path / "set")
    made = module(folder, tmp_path / "stores", train=["S00", "S01", "S02"], test=["S05"])
    made.prepare_data()
    made.setup()
    told = capsys.readouterr().err
    assert "body: split.train: no recording of S00, left out" in told
    assert "body: split.train: no recording of S01, left out" in told
    assert "S01.hdf5: skipped, its world video" in told
    assert made.subject_names == ["S02", "S05"]
    assert len(made.test_dataloader()) > 0


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (["S02", "S10"], ["S05"], "split.train: subject 'S10' selects nothing"),
        (["S02"], ["S04"], "split.test: subject 'S04' selects nothing"),
        (["S01"], ["S05"], "split.train: subject 'S01' selects nothing"),
    ],
)
def test_a_mistyped_person_or_a_split_without_anybody_is_refused(
    tmp_path: Path, train: list[str], test: list[str], words: str
) -> None:
    made = module(download(tmp_path / "set"), tmp_path / "stores", train=train, test=test)
    with pytest.raises(UserError, match=words):
        made.prepare_data()
