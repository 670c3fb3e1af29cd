"""`mssim`: one word, then what it needs. Imports stay inside, so that `--help` answers at once."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper

import mssim
from lightning_app.stop import Stopped, stoppable
from mssim.errors import UserError

TRAINER_COMMANDS = {
    "fit": "train a module: mssim fit --config configs/g1.yaml",
    "validate": "score a run's best weights on the validation split",
    "test": "write a run's metric table and drift plot: mssim test runs/g1 [--on OTHER_RECORDINGS]",
    "predict": "write a run's rollout videos: mssim predict runs/g1 [--on OTHER_RECORDINGS]",
}
DATA_COMMANDS = {
    "record": "record the simulated kitchen as ActionSense: mssim record --out DIR",
    "prepare": "convert recordings to the store: mssim prepare PATH",
    "data": "tell and show what is in a dataset: mssim data PATH; in stores: mssim data --stores",
}
RESULT_COMMANDS = {
    "release": "make a small folder of a run that travels: mssim release --run RUN --out FOLDER",
}
_DISK = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EFBIG, errno.EDQUOT),
        "make room or choose another folder, then run the same command again",
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), "choose a folder that can be written to"
    ),
}


def main(args: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        args: Words after `mssim`; those of the command line by default.

    Raises:
        SystemExit: With 2 on bad input, after one line on standard error; with 130 after Ctrl-C
            and 143 after SIGTERM, after one line, too.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        # In a file or a pipe, too, a line is there when it is said, not when all is over.
        sys.stdout.reconfigure(line_buffering=True)
    words = list(sys.argv[1:] if args is None else args)
    command = words[0] if words else "--help"
    try:
        with stoppable():
            _run(command, words)
    except Stopped as stop:
        _end(stop)
    except UserError as error:
        _stop(str(error))
    except OSError as error:
        if error.errno not in _DISK:
            raise
        _stop(f"{error.filename or command}: {error.strerror}; {_DISK[error.errno]}")


def _run(command: str, words: list[str]) -> None:
    if command in TRAINER_COMMANDS:
        _train(words)
    elif command in DATA_COMMANDS:
        _data(command, words[1:])
    elif command in RESULT_COMMANDS:
        _release(words[1:])
    elif command in ("-h", "--help"):
        print(_help())
    elif command == "--version":
        print(f"mssim {mssim.__version__}")
    else:
        known = ", ".join({**TRAINER_COMMANDS, **DATA_COMMANDS, **RESULT_COMMANDS})
        raise UserError(f"no command {command!r}; there are {known}")


def _stop(line: str, code: int = 2) -> None:
    print(f"mssim: {' '.join(line.split())}", file=sys.stderr)
    raise SystemExit(code)


def _end(stop: Stopped) -> None:
    if os.environ.get("LOCAL_RANK", "0") != "0":
        # The first process of this machine speaks for all, and takes another code for a crash.
        raise SystemExit(0)
    _stop(str(stop), 128 + stop.number)


def _train(words: list[str]) -> None:
    from lightning_app.elsewhere import spelled_out
    from lightning_app.trainer import run_trainer

    run_trainer(spelled_out(words))


def _data(command: str, words: list[str]) -> None:
    from data_modules import commands

    name = command
    if command == "data" and "--stores" in words:
        name, words = "stores", [w for w in words if w != "--stores"]
    _call(command, getattr(commands, name), words, as_positional=True)


def _release(words: list[str]) -> None:
    from lightning_app.release import release

    _call("release", release, words, as_positional=False)


def _call(command: str, run: Callable[..., object], words: list[str], as_positional: bool) -> None:
    """Run a function, its arguments parsed as its types and docstring say."""
    from jsonargparse import ArgumentError, ArgumentParser

    from lightning_app.plain import plain

    # Not jsonargparse's `auto_cli`: it takes an argument named `config` for its own.
    parser = ArgumentParser(
        prog=f"mssim {command}",
        description=" ".join((run.__doc__ or "").split("Args:")[0].split()),
        exit_on_error=False,
    )
    parser.add_function_arguments(run, as_group=False, as_positional=as_positional)
    try:
        arguments = parser.instantiate(parser.parse_args(words))
    except ArgumentError as error:
        raise UserError(f"{plain(str(error))}; see mssim {command} --help") from None
    run(**arguments)


def _help() -> str:
    lines = ["usage: mssim COMMAND [--help | options]", ""]
    for name, what in {**TRAINER_COMMANDS, **DATA_COMMANDS, **RESULT_COMMANDS}.items():
        lines.append(f"  {name:10}{what}")
    return "\n".join(lines)
