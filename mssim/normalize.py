"""Per-source, per-sense statistics as buffers, so that a checkpoint carries them."""

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from mssim.errors import UserError
from mssim.senses import SenseSet

_CLIP = 10.0  # standard deviations; a transmission error must not become a huge activation


class Normalizer(nn.Module):
    """Brings every sense to about zero mean and unit variance, by the statistics of its source.

    Args:
        senses: What to normalise.
        sources: How many sources there are; a batch's `source` indexes them.
    """

    def __init__(self, senses: SenseSet, sources: int) -> None:
        super().__init__()
        self.senses = senses
        for sense in senses:
            self.register_buffer(f"mean_{sense.name}", torch.zeros(sources, *sense.shape))
            self.register_buffer(f"std_{sense.name}", torch.ones(sources, *sense.shape))

    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Take mean and std, each float32 (sources, *shape) by sense, from the training split.

        Raises:
            UserError: A sense is missing, or its shape is another.
        """
        for sense in self.senses:
            if sense.name not in statistics:
                raise UserError(f"statistics: none for sense {sense.name}; prepare the data again")
            for buffer, value in zip(
                self._buffers_of(sense.name), statistics[sense.name], strict=True
            ):
                if buffer.shape != value.shape:
                    raise UserError(
                        f"statistics: sense {sense.name} has shape {tuple(value.shape)}, "
                        f"the model expects {tuple(buffer.shape)}"
                    )
                buffer.copy_(value)

    def forward(self, values: dict[str, Tensor], source: Tensor) -> dict[str, Tensor]:
        """(B, T, K, *shape) in raw units as (B, T, K * prod(shape)), normalised."""
        out = {}
        for sense in self.senses:
            mean, std = (b[source] for b in self._buffers_of(sense.name))
            mean, std = (rearrange(s, "b ... -> b 1 1 ...") for s in (mean, std))
            normal = ((values[sense.name] - mean) / std).clamp(-_CLIP, _CLIP)
            out[sense.name] = rearrange(normal, "b t ... -> b t (...)")
        return out

    def inverse(self, values: dict[str, Tensor], source: Tensor) -> dict[str, Tensor]:
        """(B, T, K * prod(shape)), normalised, as (B, T, K, *shape) in raw units."""
        out = {}
        for sense in self.senses:
            mean, std = (b[source] for b in self._buffers_of(sense.name))
            flat = rearrange(values[sense.name], "b t (k n) -> b t k n", n=sense.size)
            mean, std = (
                repeat(rearrange(s, "b ... -> b (...)"), "b n -> b 1 1 n") for s in (mean, std)
            )
            raw = flat * std + mean
            out[sense.name] = raw.reshape(*raw.shape[:3], *sense.shape)
        return out

    def _buffers_of(self, name: str) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"mean_{name}"), self.get_buffer(f"std_{name}")
