"""Settings of the DataModule that need no data to be seen as wrong."""

from typing import TYPE_CHECKING

from mssim.errors import UserError

if TYPE_CHECKING:
    from data_modules.module import DataModule


def check_settings(data: "DataModule") -> None:
    """See that numbers are in range and names are known.

    Raises:
        UserError: One is not; names it and what there is.
    """
    positive = {
        "size": data.clock.size,
        "context": data.context,
        "predict": data.predict,
        "start_every": data.start_every,
        "eval_every": data.eval_every,
        "batch_size": data.batch_size,
        "eval_batch_size": data.eval_batch_size,
        "limit": 1 if data.limit is None else data.limit,
        "horizon": data.horizon,
        "rollouts": data.rollouts,
        "epoch_batches": 1 if data.epoch_batches is None else data.epoch_batches,
    }
    for name, value in positive.items():
        if value < 1:
            raise UserError(f"data.{name}: {value} must be at least 1")
    for name, value in {"eval_skip": data.eval_skip, "seed": data.seed}.items():
        if value < 0:
            raise UserError(f"data.{name}: {value} must be at least 0")
    if not data.sources:
        raise UserError("data.sources is empty; name at least one source")
    if not data.strides or min(data.strides) < 1:
        raise UserError(f"data.strides: {data.strides} must be whole numbers from 1")
    if not data.eval_strides or not set(data.eval_strides) <= set(data.strides):
        raise UserError(
            f"data.eval_strides: {data.eval_strides} must be among data.strides, which are "
            f"{data.strides}: what is trained at one pace is not tested at another"
        )
    if data.predict_min is not None and not 1 <= data.predict_min <= data.predict:
        raise UserError(
            f"data.predict_min: {data.predict_min} must lie in 1 to predict = {data.predict}"
        )
    if not 0 <= data.sense_dropout < 1:
        raise UserError(f"data.sense_dropout: {data.sense_dropout} must lie in [0, 1)")
    for source, config in data.sources.items():
        for name in getattr(config.source, "senses", ()):
            if name not in data.clock.senses.names:
                raise UserError(
                    f"data.sources.{source}.source.senses: no sense named {name!r}; there are "
                    f"{', '.join(data.clock.senses.names)} in data.senses"
                )
    for name in data.absent:
        if name not in data.senses.names:
            raise UserError(
                f"data.absent: no sense named {name!r} is used; there are "
                f"{', '.join(data.senses.names)}"
            )
