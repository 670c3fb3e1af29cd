"""Frame codec: where a latent space would go. Pixels by default, as in the paper."""

from typing import Protocol

from torch import Tensor


class Codec(Protocol):
    """Frames (B, T, 3, S, S) in [-1, 1] to what is diffused, and back."""

    def encode(self, video: Tensor) -> Tensor: ...

    def decode(self, code: Tensor) -> Tensor: ...


class Identity:
    """Pixels as they are."""

    def encode(self, video: Tensor) -> Tensor:
        return video

    def decode(self, code: Tensor) -> Tensor:
        return code.clamp(-1, 1)
