"""Release: a run's averaged weights and its config as three small files that travel.

`OUT/model.safetensors` has the weights in bfloat16 and the senses' statistics as they are;
`OUT/config.json` is what `mssim.load_simulator` reads; `OUT/config.yaml` is the run's, for `mssim
test`, pointed at recordings that the user makes, nobody training.
"""

from pathlib import Path
from typing import Any

import yaml

from data_modules.files import write_text
from mssim.checkpoint import chosen, load_checkpoint, narrow
from mssim.errors import UserError
from mssim.pretrained import CONFIG, WEIGHTS, read_config, write_config, write_weights

LARGEST = 15_000_000
"""Bytes that released weights may have."""
DEMO = "runs/demo"


def release(run: Path, out: Path) -> None:
    """Write a trained simulator to a small folder for `mssim.load_simulator` and `mssim test`.

    Args:
        run: The folder of a run that `mssim fit` has trained.
        out: The folder to write.

    Raises:
        UserError: The run is not of a simulator, has no checkpoint, needs weights that are not its
            own, or has too many.
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
    if size > LARGEST:
        raise UserError(
            f"{path}: {size / 1e6:.1f} MB in bfloat16, more than {LARGEST / 1e6:.0f} MB; "
            "release a smaller network"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_weights(out / WEIGHTS, weights, content["global_step"])
    write_config(out / CONFIG, config)
    write_text(out / "config.yaml", yaml.safe_dump(_pointed(run), sort_keys=False))
    print(f"{out}: {size / 1e6:.1f} MB of weights; mssim.load_simulator({str(out)!r}) loads it")


def _pointed(run: Path) -> dict[str, Any]:
    """The run's config, to score and roll out what is recorded anew."""
    config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    for source in config["data"]["sources"].values():
        source["source"]["init_args"]["path"] = f"{DEMO}/recordings"
        source["split"].update(train=[], val=[])
    config["data"]["store"] = f"{DEMO}/stores"
    return {**config, "run": DEMO, "ckpt_path": WEIGHTS}
