"""Help that a person can read, and that leaves nothing out."""

import dataclasses
import inspect

import pytest

from data_modules.module import DataModule
from data_modules.sources.base import Source
from data_modules.splits import Split
from lightning_app.cli import main
from lightning_app.help import TOPICS
from lightning_app.modules.base import MssimModule
from mssim.video.unet import UNetConfig


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(["fit", *words])
    return capsys.readouterr().out


def test_help_is_ours_first_and_short(capsys: pytest.CaptureFixture[str]) -> None:
    """`fit --help` was 623 lines, 450 of them the Trainer's."""
    text = told(capsys, "--help")
    assert len(text.splitlines()) < 150
    assert text == told(capsys, "-h") and "--trainer." not in text
    for name in inspect.signature(DataModule).parameters:
        assert f"--data.{name}" in text
    for topic in TOPICS:
        assert f"\n  {topic} " in text


def test_every_option_of_every_source_and_module_has_its_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert {s.__name__ for s in Source.__subclasses__()} <= set(TOPICS)
    assert {m.__name__ for m in MssimModule.__subclasses__()} <= set(TOPICS)
    for topic, (of, key) in TOPICS.items():
        text = told(capsys, "--help", topic)
        linked = ("senses", "sources", "context", "predict", "use_senses")
        for name in inspect.signature(of).parameters:
            if not (key == "model" and name in linked) and (topic, name) != ("sources", "source"):
                assert f"--{key}.{name}" in text, (topic, name)
    text = told(capsys, "--help", "Simulator")
    for field in dataclasses.fields(UNetConfig):
        assert f"--model.unet.{field.name}" in text
    text = told(capsys, "--help", "sources")
    for field in dataclasses.fields(Split):
        assert f"--data.sources.NAME.split.{field.name}" in text


def test_an_unknown_topic_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--help", "nothing"])
    assert "no topic 'nothing'; there are trainer, Simulator" in capsys.readouterr().err
