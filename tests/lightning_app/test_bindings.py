"""Table 2's baselines through the real `main()`, each by one plain override."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from helpers.tiny import LONG, ROWS, build, checkpoint, write_config

from lightning_app.cli import main
from mssim.action.baselines import BindingKind
from mssim.action.encoder import EncoderConfig
from mssim.build import TowerConfig, build_tower
from mssim.towers import SmallTower

SHORT = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--data.eval_every", "40"]
KINDS: tuple[BindingKind, ...] = get_args(BindingKind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_binding_is_fitted_tested_and_shown(kind: BindingKind, toy: Path, tmp_path: Path) -> None:
    config, run = str(write_config(tmp_path, toy)), tmp_path / "run"
    main(["fit", "--config", config, "--model.encoder.binding", kind, *SHORT])
    saved = ["--config", str(run / "config.yaml")]
    main(["test", *saved])
    assert [row["row"] for row in json.loads((run / "metrics.json").read_text())] == ROWS + LONG
    main(["predict", *saved, "--data.horizon", "8", "--data.rollouts", "1"])
    assert len(list((run / "rollouts").glob("*.mp4"))) == 1
    names = checkpoint(run)["state_dict"]
    assert not any("anchor" in n or "fusion" in n or "decoders" in n for n in names)
    assert any("encoder.binding." in n for n in names) is (kind in ("mutex", "neural-field"))
    assert any("tower.words" in n for n in names) is (kind == "languagebind")


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_is_bound_alone(kind: BindingKind, toy: Path, tmp_path: Path) -> None:
    cli = build(
        write_config(tmp_path, toy, model="ActionEncoder"), "--model.encoder.binding", kind, *SHORT
    )
    cli.trainer.fit(cli.model, cli.datamodule)
    seen = cli.trainer.callback_metrics
    assert seen["train/norm"] == 0 and seen["val/norm"] == 0
    torch.testing.assert_close(seen["val/loss"], seen["val/ssl"])
    assert seen["val/ssl"] > 0


def test_words_that_bind_stay_as_they_were() -> None:
    tower = build_tower(TowerConfig(), EncoderConfig(feature=16, binding="languagebind"))
    assert isinstance(tower, SmallTower) and tower.words is not None
    assert not tower.words.weight.requires_grad
    assert all(p.requires_grad for n, p in tower.named_parameters() if n != "words.weight")
    spoken = build_tower(TowerConfig(), EncoderConfig(feature=16, text="expert"))
    assert all(p.requires_grad for p in spoken.parameters())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("model", "words", "told"),
    [
        (
            "Simulator",
            ["--model.encoder.binding", "languagebind"],
            "encoder.binding `languagebind`",
        ),
        ("ActionEncoder", ["--model.encoder.text", "expert"], "encoder.text `expert`"),
    ],
)
def test_text_that_the_data_lack_is_told_before_training(
    model: str,
    words: list[str],
    told: str,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = str(write_config(tmp_path, toy, model=model))
    with pytest.raises(SystemExit):
        main(["fit", "--config", config, "--data.text", "none", *words, *SHORT])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("mssim: data.text: `none`, but the encoder reads text") and told in said


def test_mutex_of_one_sense_is_refused(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_config(tmp_path, toy))
    words = ["--model.encoder.binding", "mutex", "--data.use_senses", "[place]"]
    with pytest.raises(SystemExit):
        main(["fit", "--config", config, *words, *SHORT])
    assert "only place; give data.use_senses two or more" in capsys.readouterr().err
