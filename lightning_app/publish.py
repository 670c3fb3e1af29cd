"""`make publish`: a run's config and numbers, without the paths of the machine that made them."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from data_modules.files import homeless, write_text
from mssim.errors import UserError

TEXTS = ("config.yaml", "metrics.json", "metrics.csv", "metrics.md")
PICTURES = ("drift.png",)


def publish(run: Path, out: Path, gif: bool = False) -> None:
    """Copy what is published of a run.

    Args:
        run: Its folder.
        out: Where to.
        gif: Frames of the recordings, too: only of data that may be shown.

    Raises:
        UserError: The run was not tested, or has no GIF.
    """
    for name in (*TEXTS, *PICTURES):
        if not (run / name).exists():
            raise UserError(
                f"{run / name} is not there; run `mssim test --config {run}/config.yaml`"
            )
    films = sorted((run / "rollouts").glob("*.gif"))
    if gif and not films:
        raise UserError(
            f"{run}: no GIF in rollouts; run `mssim predict --config {run}/config.yaml`"
        )
    for name in TEXTS:
        write_text(out / name, homeless((run / name).read_text()))
    for name in PICTURES:
        shutil.copyfile(run / name, out / name)
    if gif:
        shutil.copyfile(films[0], out / "rollout.gif")


def main(words: Sequence[str] | None = None) -> None:
    """The command line of `make publish`."""
    parser = argparse.ArgumentParser(prog="publish", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    parser.add_argument("--out", type=Path, default=Path("configs/published"))
    parser.add_argument("--gif", action="store_true", help="a rollout, too")
    given = parser.parse_args(words)
    try:
        publish(given.run, given.out / given.run.resolve().name, given.gif)
    except UserError as error:
        print(f"publish: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
