"""Synthetic ActionSense recordings: python tests/helpers/record_example.py OUT."""

import sys
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent))

from helpers.actionsense_writer import write_actionsense

SECONDS = 60


def main(out: Path) -> None:
    """One recording each of S00 to S05; those that are there stay."""
    for number in tqdm(range(6), desc="recording", unit="subject"):
        subject = f"S{number:02d}"
        if not list(out.glob(f"*{subject}*/*/*.hdf5")):
            write_actionsense(out, subject, SECONDS, seed=number, number=number)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
