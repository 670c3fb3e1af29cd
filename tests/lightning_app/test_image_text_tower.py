"""The image-text tower: it learns, is judged, and serves simulators frozen."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from helpers.tiny import build, checkpoint, write_config
from helpers.worlds import make_batch

from lightning_app.cli import main
from lightning_app.modules.image_text_tower import ImageTextTower
from mssim.action.encoder import EncoderConfig
from mssim.build import TowerConfig, build_tower, load_tower
from mssim.contrastive import retrieved
from mssim.errors import UserError
from mssim.towers import FrozenTower

VARIED = ["--data.text", "varied", "--data.strides", "[1, 3]"]
TEXT = ["--model.encoder.text", "expert", "--model.tower.kind", "frozen"]


@pytest.fixture(scope="module")
def tower_run(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tower's run, 4 steps long; read it only."""
    folder = tmp_path_factory.mktemp("tower")
    config = write_config(folder, toy, model="ImageTextTower")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["mssim"])
        main(["fit", "--config", str(config), *VARIED, "--trainer.max_steps", "4"])
    return folder / "run"


@pytest.fixture
def best(tower_run: Path) -> Path:
    return tower_run / "checkpoints" / "best.ckpt"


def test_it_learns_which_episode_shows_what(toy: Path, tmp_path: Path) -> None:
    """Two episodes, two tasks: after a while every frame finds its own, whatever the detail."""
    config = write_config(tmp_path, toy, model="ImageTextTower")
    words = ["--data.limit", "2", "--data.start_every", "9", "--data.batch_size", "8"]
    words += ["--model.optimizer.lr", "0.01", "--trainer.max_steps", "40", *VARIED]
    cli = build(config, *words, "--trainer.limit_val_batches", "0")
    cli.trainer.fit(cli.model, cli.datamodule)
    module = cli.model.eval()
    assert isinstance(module, ImageTextTower)
    batch = next(iter(cli.datamodule.train_dataloader()))
    assert len(set(batch.text)) > 2  # verbs, phrases and sentences of the two
    frames, owner = module._seen(batch)
    for level in ("{}", "{} the square", "{} the square slowly"):
        names = [level.format(verb) for verb in ("slide", "squeeze")]
        aim = (batch.unit % 2)[owner]
        found = retrieved(frames, module.tower.texts(names))
        assert (found == aim).float().mean() > 0.9


def test_what_is_logged_is_what_a_look_at_every_frame_finds(
    toy: Path, tmp_path: Path, best: Path
) -> None:
    config = write_config(tmp_path, toy, model="ImageTextTower")
    cli = build(config, *VARIED)
    state = checkpoint(best.parents[1], "best")["state_dict"]
    cli.model.load_state_dict(state)
    cli.trainer.validate(cli.model, cli.datamodule, verbose=False)
    tower, right, seen = load_tower(best), 0, 0
    captions = tower.texts(["slide the square", "squeeze the square"])
    for batch in cli.datamodule.val_dataloader():
        for row, text in enumerate(batch.text):
            assert text in ("slide the square", "squeeze the square")
            for feature in tower.images(batch.video()[row : row + 1])[0]:
                near = [float(feature @ c) for c in captions]
                right += near.index(max(near)) == (text[:2] == "sq")
                seen += 1
    told = cli.trainer.callback_metrics
    assert told["val/accuracy"].item() == pytest.approx(right / seen, abs=1e-6)
    assert told["val/chance"] == told["val/commonest"] == told["val/chance_verb"] == 0.5
    assert {"val/loss", "val/accuracy_verb", "val/commonest_verb"} <= told.keys()


def test_a_run_is_tested_but_predicts_nothing(
    tower_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(tower_run / "config.yaml")
    main(["test", "--config", config])
    assert "test/accuracy" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["predict", "--config", config])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == "mssim: model: an ImageTextTower predicts no frames; predict with a Simulator"


def test_it_needs_captions(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, toy, model="ImageTextTower")
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(config), "--data.text", "none"])
    assert "mssim: data.text: `none`, but a tower learns from captions" in capsys.readouterr().err


def test_a_simulator_with_a_frozen_tower_neither_trains_nor_saves_it(
    toy: Path, tmp_path: Path, best: Path
) -> None:
    config = write_config(tmp_path, toy)
    before = checkpoint(best.parents[1], "best")["state_dict"]
    held: list[FrozenTower] = []

    class Look(pl.Callback):
        def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            held.append(pl_module.simulator.tower)  # type: ignore[union-attr, arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_app.callbacks.report.Report.on_train_end", Look.on_train_end)
        words = [*TEXT, "--model.tower.checkpoint", str(best), "--trainer.max_steps", "2"]
        main(["fit", "--config", str(config), *words])
    for name, value in held[0]._net.state_dict().items():
        assert torch.equal(value, before[f"tower.{name}"])
    assert not held[0]._net.training
    saved = checkpoint(tmp_path / "run")
    assert not [n for part in ("state_dict", "raw_state") for n in saved[part] if "tower" in n]
    # A run's saved config is enough to test it.
    main(["test", "--config", str(tmp_path / "run" / "config.yaml")])
    assert (tmp_path / "run" / "metrics.json").exists()


def test_a_frozen_tower_sees_and_reads_as_it_was_trained(tower_run: Path, best: Path) -> None:
    tower = build_tower(TowerConfig(kind="frozen", checkpoint=best), EncoderConfig(feature=16))
    assert isinstance(tower, FrozenTower) and not isinstance(tower, torch.nn.Module)
    module = ImageTextTower(width=16, channels=8)
    module.load_state_dict(checkpoint(tower_run, "best")["state_dict"])
    video, texts = make_batch(size=2).video(), ["slide", "slide the square", ""]
    assert torch.equal(tower.images(video), module.tower.images(video))
    assert torch.equal(tower.texts(texts), module.tower.texts(texts))
    assert not tower.images(video).requires_grad and not tower.texts(texts).requires_grad
    # It goes where its input is.
    assert tower.images(video.to("meta")).device.type == "meta"
    assert tower.texts(texts).device.type == "meta"


def test_a_tower_that_will_not_do_is_told(tmp_path: Path, best: Path) -> None:
    def refused(path: Path, feature: int = 16) -> str:
        with pytest.raises(UserError) as error:
            build_tower(TowerConfig(kind="frozen", checkpoint=path), EncoderConfig(feature=feature))
        return str(error.value)

    remedy = "train a tower with `mssim fit --config configs/tower.yaml` and give its checkpoint"
    path = tmp_path / "none.ckpt"
    assert refused(path) == f"tower.checkpoint: {path} is not there; {remedy}"
    path.write_bytes(best.read_bytes()[:5000])
    said = refused(path)
    assert said.startswith(f"tower.checkpoint: {path}: not a readable checkpoint (")
    assert said.endswith(remedy)
    other = tmp_path / "encoder.ckpt"
    torch.save({"state_dict": {"tower.head.weight": torch.zeros(16, 4)}, "global_step": 1}, other)
    assert refused(other) == f"tower.checkpoint: {other} is of another model; {remedy}"
    assert refused(best, 32) == (
        f"encoder.feature: 32, but tower.checkpoint {best} has 16; set them equal"
    )
