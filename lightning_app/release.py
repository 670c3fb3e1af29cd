"""Release: a run's averaged weights and its config as small files that travel.

`OUT/model.safetensors` has the weights in bfloat16 and the senses' statistics as they are;
`OUT/config.json` is what `mssim.load_simulator` reads; `OUT/config.yaml` is the run's, for `mssim
test`, pointed at recordings that the user makes, nobody training; `OUT/example.safetensors`, where
it is asked for, a few seconds to start from.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from torch import Tensor

from data_modules.commands import read_settings
from data_modules.files import write_text
from data_modules.module import DataModule
from data_modules.splits import Split
from data_modules.windows import Ask
from mssim.checkpoint import chosen, load_checkpoint, narrow
from mssim.config import CONFIG, read_config, write_config
from mssim.errors import UserError
from mssim.pretrained import EXAMPLE, WEIGHTS, write_tensors

DEMO = "runs/demo"
_WINDOWS = ("context", "strides", "eval_strides", "use_senses")


def release(run: Path, out: Path, example: Path | None = None) -> None:
    """Write a trained simulator to a small folder for `mssim.load_simulator` and `mssim test`.

    Args:
        run: The folder of a run that `mssim fit` has trained.
        out: The folder to write.
        example: A folder of recordings that the run has never seen; the seconds of them in which
            most moves come along, for `mssim.load_example`.

    Raises:
        UserError: The run is not of a simulator, has no checkpoint, or needs weights that are not
            its own.
    """
    config = read_config(run)
    if config.tower.kind == "frozen":
        raise UserError(
            f"{run}: its frozen tower's weights are not its own, so it cannot be released; train a "
            "simulator with tower.kind small"
        )
    path = chosen(run)
    content = load_checkpoint(path)
    trained = content.get("raw_state", content["state_dict"]).keys()
    weights = narrow(content["state_dict"], trained)
    size = sum(t.numel() * t.element_size() for t in weights.values())
    out.mkdir(parents=True, exist_ok=True)
    if example is not None:
        write_tensors(out / EXAMPLE, _example(run, example))
    write_tensors(out / WEIGHTS, weights, content["global_step"])
    write_config(out / CONFIG, config)
    write_text(
        out / "config.yaml", yaml.safe_dump(_pointed(run, f"{DEMO}/recordings"), sort_keys=False)
    )
    print(f"{out}: {size / 1e6:.1f} MB of weights; mssim.load_simulator({str(out)!r}) loads it")


def _example(run: Path, recordings: Path) -> dict[str, Tensor]:
    """Frames and senses of a context and two steps: where they change most."""
    table = _pointed(run, recordings)
    data = table["data"]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        write_text(file, yaml.safe_dump(table))
        settings = read_settings(file)
        module = DataModule(
            {k: replace(v, split=Split(test="all")) for k, v in settings.sources.items()},
            settings.senses,
            settings.size,
            settings.rate,
            Path(folder),
            settings.crop,
            **{k: data[k] for k in _WINDOWS if k in data},
            predict=2 * data["predict"],
        )
        module.prepare_data()
        module.setup("test")
        windows = module.datasets["test"]
        batch = windows[Ask(np.arange(len(windows)), 0, module.predict)]
        frames = batch.video()[:, batch.context - 1 :]
        most = (frames[:, 1:] - frames[:, :1]).abs().mean(dim=(1, 2, 3, 4)).argmax()
        picked = batch.rows(most[None])
        return {"frames": next(iter(picked.frames.values())), **picked.senses}


def _pointed(run: Path, recordings: Path | str) -> dict[str, Any]:
    """The run's config, to score and roll out what is recorded anew."""
    config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    for source in config["data"]["sources"].values():
        source["source"]["init_args"]["path"] = str(recordings)
        source["split"].update(train=[], val=[])
    config["data"]["store"] = f"{DEMO}/stores"
    return {**config, "run": DEMO, "ckpt_path": WEIGHTS}
