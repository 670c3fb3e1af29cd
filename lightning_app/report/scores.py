"""Raw scores on disk, window by window, so that a later run can be paired with this one."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_modules.files import whole
from mssim.errors import UserError
from mssim.metrics.collect import Scores


def write_scores(path: Path, rows: Mapping[str, Scores]) -> None:
    """Write the scores of every row to one `.npz`: `ROW/window`, `ROW/unit`, `ROW/mask`, and
    `ROW/value/METRIC` (W, P).
    """
    arrays: dict[str, NDArray[Any]] = {}
    for row, scores in rows.items():
        parts = {"window": scores.window, "unit": scores.unit, "mask": scores.mask}
        parts |= {f"value/{name}": value for name, value in scores.values.items()}
        arrays |= {f"{row}/{key}": value.cpu().numpy() for key, value in parts.items()}
    with whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_scores(path: Path) -> dict[str, Scores]:
    """What `write_scores` wrote, rows in the same order.

    Raises:
        UserError: The file is missing or is not one of these.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: torch.from_numpy(file[key]) for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: {error}; run `mssim test` again to write it") from None
    rows = {}
    for row in dict.fromkeys(key.split("/")[0] for key in arrays):
        mark = f"{row}/value/"
        values = {k.removeprefix(mark): v for k, v in arrays.items() if k.startswith(mark)}
        try:
            parts = [arrays[f"{row}/{key}"] for key in ("window", "unit", "mask")]
        except KeyError as error:
            raise UserError(f"{path}: no {error}; run `mssim test` again to write it") from None
        rows[row] = Scores(parts[0], parts[1], values, parts[2])
    return rows
