"""A config and flags read as `mssim fit` reads them, with nothing made of what they say."""

import warnings
from collections.abc import Sequence

from data_modules.module import DataModule
from lightning_app.modules.base import MssimModule
from lightning_app.trainer import MssimCLI


class Parsed(MssimCLI):
    """A config, read and checked: neither data nor weights are needed.

    Args:
        words: `--config FILE` and flags.
    """

    def __init__(self, words: Sequence[str]) -> None:
        # Lightning warns where words are handed over beside those of the command line.
        warnings.filterwarnings("ignore", "LightningCLI's args parameter")
        super().__init__(
            MssimModule,
            DataModule,
            subclass_mode_model=True,
            auto_configure_optimizers=False,
            seed_everything_default=False,
            save_config_callback=None,
            run=False,
            parser_kwargs={"exit_on_error": False},
            args=list(words),
        )

    def instantiate_classes(self) -> None:
        """Make nothing."""
