"""A tiny dataset, tiny configs for it, and `mssim` as a process of its own.

The dataset is `lerobot_writer`'s moving square: 8 episodes of 40 frames, of which 4 train, 2
validate and 2 test.
"""

import json
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from data_modules.module import DataModule
from helpers.lerobot_writer import write_lerobot
from lightning_app.cli import main
from lightning_app.modules.base import MssimModule
from lightning_app.trainer import MssimCLI

MSSIM = Path(sys.executable).with_name("mssim")
_STATE = ("state_dict", "raw_state", "ema_updates", "optimizer_states", "lr_schedulers")
ROWS = ["model", "copy-last-frame", "held-action", "shuffled-actions", "no-action"]
LONG = ["long", "long one by one", "long copy-last-frame"]
_COLUMN = "observation.state"
_ENCODER = {"code": 16, "projection": [16], "feature": 16, "dropout": 0.0}
_ADAMW = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1.0e-3}}
# Of the modules that are no simulator: their arguments, and what their best weights are.
_OTHERS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "ActionEncoder": (
        {"encoder": _ENCODER, "tower": {"channels": 8}, "optimizer": _ADAMW},
        {"monitor": "val/loss", "mode": "min"},
    ),
    "ImageTextTower": (
        {"width": 16, "channels": 8, "optimizer": _ADAMW},
        {"monitor": "val/accuracy", "mode": "max"},
    ),
}
CONFIG: dict[str, Any] = {
    "data": {
        "sources": {
            "toy": {
                "source": {
                    "class_path": "data_modules.sources.lerobot.LeRobotSource",
                    "init_args": {
                        "senses": {
                            "place": {"column": _COLUMN, "start": 0, "stop": 2},
                            "other": {"column": _COLUMN, "start": 2, "stop": 4},
                        }
                    },
                },
                "split": {"by": "recording", "train": ["0:4"], "val": ["4:6"], "test": ["6:8"]},
            }
        },
        "senses": {
            "senses": [
                {"name": "place", "shape": [2], "unit": "px"},
                {"name": "other", "shape": [2], "unit": "one"},
            ]
        },
        "size": 16,
        "batch_size": 8,
        "eval_every": 8,
    },
    "model": {
        "class_path": "Simulator",
        "init_args": {
            "encoder": _ENCODER,
            "tower": {"channels": 8},
            "unet": {
                "width": 8,
                "multipliers": [1, 2],
                "blocks": 1,
                "patch": 2,
                "attention": [1],
                "time_attention": [1],
                "embedding": 16,
                "own_tokens": 2,
            },
            "diffusion": {"target": "edm", "residual": True},
            "sampler": {"kind": "dpm++", "steps": 2},
            "optimizer": _ADAMW,
        },
    },
    "trainer": {
        "accelerator": "cpu",
        "devices": 1,
        "max_steps": 6,
        "val_check_interval": 3,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 2,
    },
    "last": {"every": 2},
    "ema": {"every": 2},
}


def write_toy(folder: Path) -> Path:
    """The dataset, in `folder`/toy; its store will lie in `folder`/store."""
    return write_lerobot(folder / "toy", episodes=8, frames=40)


def write_config(folder: Path, toy: Path, run: str = "run", model: str = "Simulator") -> Path:
    """A config for the dataset `toy`, whose run's folder is `folder`/`run`."""
    config = deepcopy(CONFIG)
    config["run"] = str(folder / run)
    config["data"]["store"] = str(toy.parent / "store")
    config["data"]["sources"]["toy"]["source"]["init_args"]["path"] = str(toy)
    if model in _OTHERS:
        arguments, best = deepcopy(_OTHERS[model])
        config["model"] = {"class_path": model, "init_args": arguments}
        config["best"] = best
    path = folder / f"{run}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def mssim(*words: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    """`mssim WORDS` as a process of its own, one thread."""
    return subprocess.run(
        [str(MSSIM), *map(str, words)], capture_output=True, text=True, env=environment(), **options
    )


def environment() -> dict[str, str]:
    """This process's, with one thread, as the tests themselves have: sums in the same order."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def complaint(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line that a process ended with; fails if there is more, or a traceback."""
    assert done.returncode == 2, (done.returncode, done.stderr[-3000:])
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    said = [line for line in done.stderr.splitlines() if line.startswith("mssim: ")]
    assert len(said) == 1 and done.stderr.rstrip().endswith(said[0]), done.stderr[-3000:]
    return said[0]


def checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    """A run's checkpoint, read as anybody may: no code in it."""
    path = run / "checkpoints" / f"{name}.ckpt"
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def differences(one: Any, two: Any, at: str = "") -> list[str]:
    """Where two trees of tensors and plain values differ, bit by bit; paths from the root."""
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        same = one.dtype == two.dtype and torch.equal(one, two)
        return [] if same else [at]
    if isinstance(one, dict) and isinstance(two, dict):
        odd = [f"{at}/{key}" for key in one.keys() ^ two.keys()]
        both = one.keys() & two.keys()
        return odd + [d for k in both for d in differences(one[k], two[k], f"{at}/{k}")]
    if isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        pairs = zip(one, two, strict=True)
        return [d for i, (a, b) in enumerate(pairs) for d in differences(a, b, f"{at}/{i}")]
    return [] if one == two else [at]


def fit(config: Path, run: Path, steps: int, *more: str) -> None:
    """`mssim fit`, in this process, for so many steps."""
    main(
        [
            "fit",
            "--config",
            str(config),
            "--run",
            str(run),
            "--trainer.max_steps",
            str(steps),
            *more,
        ]
    )


def assert_same(one: Path, two: Path, name: str = "last") -> None:
    """Two runs hold the same weights and state, bit by bit."""
    mine, theirs = ({k: checkpoint(r, name)[k] for k in _STATE} for r in (one, two))
    assert differences(mine, theirs) == []


def build(config: Path, *words: str) -> MssimCLI:
    """Module, DataModule and trainer of a config, nothing run; the data are set up."""
    cli = MssimCLI(
        MssimModule,
        DataModule,
        subclass_mode_model=True,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        save_config_callback=None,
        run=False,
        args=["--config", str(config), *words],
    )
    cli.datamodule.prepare_data()
    cli.datamodule.setup()
    return cli


def write_robot(folder: Path) -> Path:
    """Six short episodes with a state of 26 numbers, as `configs/data/g1.yaml` expects them."""
    root = write_lerobot(folder / "robot", episodes=6, frames=16)
    for file in sorted((root / "data").rglob("*.parquet")):
        table = pq.read_table(file)
        state = np.stack(table[_COLUMN].to_pylist()).astype(np.float32)
        wide = pa.FixedSizeListArray.from_arrays(pa.array(np.tile(state, 7)[:, :26].ravel()), 26)
        pq.write_table(table.set_column(table.column_names.index(_COLUMN), _COLUMN, wide), file)
    info = json.loads((root / "meta" / "info.json").read_text())
    info["features"][_COLUMN] = {"dtype": "float32", "shape": [26], "names": None}
    (root / "meta" / "info.json").write_text(json.dumps(info))
    return root
