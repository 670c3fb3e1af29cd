"""Every way to condition the simulator (Table 1 and section 7.8.1), as flags of one config."""

import json
from pathlib import Path

import pytest
from helpers.actionsense_writer import LABELS, write_actionsense
from helpers.tiny import LONG, ROWS, checkpoint, write_config

from data_modules.text import caption
from lightning_app.cli import main
from mssim.towers import FrozenTower

CONFIGS = Path(__file__).parents[2] / "configs"
HAND_POSE = ["left_hand_pose", "right_hand_pose"]
HAND_FORCE = ["left_tactile", "right_tactile"]
BODY_POSE = ["body_pose"]
EMG = ["left_emg", "right_emg"]
SENSES = [*HAND_POSE, *HAND_FORCE, *BODY_POSE, *EMG]
TINY = [
    *("--trainer.max_steps", "1", "--trainer.val_check_interval", "1", "--ema.every", "1"),
    *("--trainer.limit_val_batches", "1", "--trainer.limit_test_batches", "1"),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    *("--data.size", "16", "--data.batch_size", "2", "--data.eval_batch_size", "2"),
    *("--data.eval_every", "100"),
]
NARROW = ["--model.unet.width", "8", "--model.unet.multipliers", "[1, 2]", "--model.sampler.steps"]
NARROW += ["1", "--model.unet.attention", "[1]", "--model.unet.time_attention", "[1]"]
NARROW += ["--model.unet.embedding", "32", "--model.encoder.projection", "[32]"]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Words that name the data: a short recording of each of the kitchen's six subjects."""
    folder = tmp_path_factory.mktemp("kitchen")
    for number in range(6):
        write_actionsense(folder / "set", f"S{number:02d}", seconds=5, seed=number)
    path = "--data.sources.kitchen.source.init_args.path"
    return ["--data.store", str(folder / "stores"), path, str(folder / "set"), *TINY]


@pytest.fixture(scope="module")
def tower(where: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a tower, by the config that a reader runs."""
    run = tmp_path_factory.mktemp("tower")
    words = ["--config", str(CONFIGS / "tower.yaml"), "--run", str(run), *where]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["mssim"])
        main(["fit", *words, "--data.strides", "[1]"])
    assert checkpoint(run, "best")["global_step"] == 1
    return run / "checkpoints" / "best.ckpt"


@pytest.mark.parametrize(
    ("senses", "use", "detail", "tested"),
    [  # A fit validates, too. One row of each kind is also tested, with all that is reported then.
        pytest.param(SENSES, "off", "phrase", True, id="all senses"),
        pytest.param(HAND_POSE, "off", "phrase", False, id="hand pose"),
        pytest.param(HAND_FORCE, "off", "phrase", False, id="hand force"),
        pytest.param(BODY_POSE, "off", "phrase", False, id="body pose"),
        pytest.param(EMG, "off", "phrase", False, id="muscle EMG"),
        pytest.param([], "alone", "verb", False, id="text: verb"),
        pytest.param([], "alone", "phrase", False, id="text: phrase"),
        pytest.param([], "alone", "sentence", True, id="text: sentence"),
        pytest.param(SENSES, "expert", "phrase", True, id="senses and phrase"),
        pytest.param(SENSES, "expert", "sentence", False, id="senses and sentence"),
    ],
)
def test_a_row_trains_and_is_validated(
    senses: list[str],
    use: str,
    detail: str,
    tested: bool,
    where: list[str],
    tower: Path,
    tmp_path: Path,
) -> None:
    read: set[str] = set()
    texts = FrozenTower.texts
    words = ["--config", str(CONFIGS / "kitchen.yaml"), "--run", str(tmp_path), *where, *NARROW]
    words += ["--model.tower.kind", "frozen", "--model.tower.checkpoint", str(tower)]
    words += ["--data.use_senses", json.dumps(senses), "--data.text", detail]
    words += ["--model.encoder.text", use]

    def spy(self: FrozenTower, strings: list[str]) -> object:
        read.update(strings)
        return texts(self, strings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrozenTower, "texts", spy)
        main(["fit", *words])
        if tested:
            main(["test", "--config", str(tmp_path / "config.yaml")])
            scored = json.loads((tmp_path / "metrics.json").read_text())
            assert [r["row"] for r in scored] == ["model", "guided", *ROWS[1:], *LONG]
    part = "simulator.encoder.experts.encoders."
    saved = checkpoint(tmp_path, "best")["state_dict"]
    experts = {n.removeprefix(part).split(".")[0] for n in saved if n.startswith(part)}
    assert experts == set(senses)
    # All that is said in training, validation and test is of this detail.
    phrases = {caption(label, detail) for label in LABELS}  # type: ignore[arg-type]
    said = {t.split(" slowly")[0] for t in read} if detail == "sentence" else read
    assert said <= phrases and bool(said) == (use != "off")
    assert detail != "sentence" or use == "off" or all(" slowly" in t for t in read)


def scores(run: Path) -> dict[str, float]:
    """PSNR by row of a tested run."""
    listed = json.loads((run / "metrics.json").read_text())
    return {r["row"]: r["psnr"] for r in listed}


def test_a_trained_model_is_tested_with_a_sense_hidden(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["test", "--config", str(trained / "config.yaml"), "--run", str(tmp_path / "hidden")]
    words += ["--ckpt_path", str(trained / "checkpoints" / "best.ckpt"), "--data.absent"]
    main([*words, "[place]"])
    whole, hidden = scores(trained), scores(tmp_path / "hidden")
    unmoved = {row for row in ROWS + LONG if whole[row] == hidden[row]}
    assert unmoved == {"copy-last-frame", "no-action", "long copy-last-frame"}
    with pytest.raises(SystemExit):
        main([*words, "[place, foot]"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == "mssim: data.absent: no sense named 'foot' is used; there are place, other"


def test_a_model_without_past_actions_trains_and_rolls_out(toy: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, toy)
    words = ["--data.past_actions", "false", "--trainer.max_steps", "2"]
    main(["fit", "--config", str(config), *words, "--trainer.val_check_interval", "2"])
    saved = ["--config", str(tmp_path / "run" / "config.yaml"), "--data.rollouts", "1"]
    main(["predict", *saved, "--data.horizon", "10"])
    assert len(list((tmp_path / "run" / "rollouts").glob("*.mp4"))) == 1
