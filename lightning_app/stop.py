"""Ctrl-C and SIGTERM: they end a command at once, or a training at its next whole step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = "run the same command again to go on"
_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stopped(BaseException):
    """A signal ends the command.

    No `Exception`: what mends faults must not take it for one. Nor a `KeyboardInterrupt`, on which
    Lightning ends the process by itself.

    Args:
        number: Of the signal.
        told: What was kept, and how to go on.
    """

    def __init__(self, number: int, told: str = AGAIN) -> None:
        super().__init__(f"stopped by {_NAMES.get(signal.Signals(number), number)}; {told}")
        self.number = number


class _Signals:
    """What this process was sent, whether that ends it at once, and whether a command listens."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.waits = False
        self.heard = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        again, self.number = self.number is not None, number
        # Who asks twice does not want to wait for a step's end.
        if again or not self.waits:
            self.waits = False
            raise Stopped(number)


_SIGNALS = _Signals()


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, both signals raise `Stopped`; after, they do what they did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _NAMES}
    _SIGNALS.number, _SIGNALS.waits, _SIGNALS.heard = None, False, True
    try:
        _listen()
        yield
    finally:
        _SIGNALS.heard = False
        for number, handler in before.items():
            signal.signal(number, handler)


def wait(waits: bool) -> None:
    """From now on, a signal is kept for `asked`; or, where False, it ends the command at once."""
    if _SIGNALS.heard:
        _listen()  # Lightning has put a handler of its own in front.
        _SIGNALS.waits = waits


def asked() -> int | None:
    """The signal that was sent and kept, if one was."""
    return _SIGNALS.number


def _listen() -> None:
    for number in _NAMES:
        signal.signal(number, _SIGNALS)
