"""Release: a run's averaged weights and its config as two small files that travel with the package.

python -m lightning_app.release --run runs/kitchen --out mssim/pretrained/kitchen-32

`OUT/model.safetensors` has the weights in bfloat16 and the senses' statistics as they are;
`OUT/config.yaml` is the run's, pointed at recordings that the user makes, nobody training.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from data_modules.files import whole, write_text
from mssim.checkpoint import RELEASED, chosen, load_checkpoint, narrow
from mssim.errors import UserError

LARGEST = 15_000_000
"""Bytes that released weights may have."""
DEMO = "runs/demo"


def release(run: Path, out: Path) -> int:
    """Write a run's weights and config.

    Args:
        run: A trained run's folder.
        out: Where to.

    Returns:
        Bytes of the weights.

    Raises:
        UserError: The run has no checkpoint, or its weights are too many.
    """
    path = chosen(run)
    content = load_checkpoint(path)
    trained = content.get("raw_state", content["state_dict"]).keys()
    weights: dict[str, torch.Tensor] = narrow(content["state_dict"], trained)
    size = sum(t.numel() * t.element_size() for t in weights.values())
    if size > LARGEST:
        raise UserError(
            f"{path}: {size / 1e6:.1f} MB in bfloat16, more than {LARGEST / 1e6:.0f} MB; "
            "release a smaller network"
        )
    with whole(out / f"model{RELEASED}") as temporary:
        step = {"global_step": str(content["global_step"])}
        save_file({k: t.contiguous() for k, t in weights.items()}, temporary, step)
    write_text(out / "config.yaml", yaml.safe_dump(_pointed(run), sort_keys=False))
    return size


def _pointed(run: Path) -> dict[str, Any]:
    """The run's config, to score and roll out what is recorded anew."""
    config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    for source in config["data"]["sources"].values():
        source["source"]["init_args"]["path"] = f"{DEMO}/recordings"
        source["split"].update(train=[], val=[])
    config["data"]["store"] = f"{DEMO}/stores"
    return {**config, "run": DEMO, "ckpt_path": f"model{RELEASED}"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="a trained run's folder")
    parser.add_argument("--out", type=Path, required=True, help="where to")
    given = parser.parse_args()
    try:
        written = release(given.run, given.out)
    except UserError as error:
        sys.exit(f"release: {error}")
    print(f"{given.out}: {written / 1e6:.1f} MB of weights")
