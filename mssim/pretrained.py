"""A trained simulator in two lines of Python, without Lightning.

    sim = mssim.load_simulator("kitchen-32")
    sim.start(frames, senses)
    frames = sim.step(actions)

It is loaded from a released simulator's name, from a run's folder, or from a folder with
`config.json` (a `SimulatorConfig`) and `model.safetensors`, as `mssim release` writes it.

Letters: B worlds side by side, H context frames, P frames a step, K samples a frame interval, S
pixels a side.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from huggingface_hub import ModelHubMixin, snapshot_download
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mssim.batch import Batch
from mssim.build import build_simulator
from mssim.checkpoint import check_fit, chosen, load_checkpoint
from mssim.config import CONFIG, SimulatorConfig, read_config, write_config
from mssim.errors import UserError
from mssim.resources import PRETRAINED, released
from mssim.senses import Sense, SenseSet
from mssim.video.rollout import Rollout, State
from mssim.world import SimulatedWorld, check_senses

Array = Tensor | npt.NDArray[Any]
WEIGHTS, EXAMPLE = "model.safetensors", "example.safetensors"
_CARD = """---
{{ card_data }}
---

A video simulator made with `mssim`: past frames and what a body feels and does go in, the next
frames come out.

```python
import mssim

sim = mssim.PretrainedSimulator.from_pretrained("OWNER/NAME")
print(sim.config)
```
"""


class PretrainedSimulator(
    nn.Module,
    ModelHubMixin,
    library_name="mssim",
    license="apache-2.0",
    tags=["world-model", "video-generation"],
    model_card_template=_CARD,
):
    """A trained simulator as a `World`: started at frames, stepped by actions.

    Args:
        config: What it is made of; its weights are fresh until some are loaded.
    """

    def __init__(self, config: SimulatorConfig) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            self.simulator = build_simulator(
                SenseSet(config.senses),
                len(config.sources),
                config.context,
                config.predict,
                config.encoder,
                config.tower,
                config.unet,
                config.diffusion,
                config.drop_condition,
            )
        self.simulator.diffusion.scheduler(config.sampler)
        self._rollout = Rollout(self.simulator, config.sampler, config.past_actions)
        self._world: SimulatedWorld | None = None
        self.eval().requires_grad_(False)

    def start(
        self,
        frames: Array,
        senses: Mapping[str, Array] | None = None,
        *,
        text: str | Sequence[str] = "",
        source: str | None = None,
        interval: float | None = None,
        seed: int = 0,
    ) -> State:
        """Begin B worlds at what was just seen and felt.

        Args:
            frames: The last H frames, RGB, uint8 (B, H, 3, S, S), of PyTorch or NumPy.
            senses: By name, what was felt on the way to each of them, float (B, H, K, *shape) in
                the units of `config.senses`; those that are left out count as absent.
            text: What is being done, for a simulator that reads text; one for all or one a world.
            source: Whose statistics the senses have, of `config.sources`; the first by default.
            interval: Seconds between frames; by default as in training.
            seed: Seed of the diffusion noise; each world has its own.

        Returns:
            Where the worlds stand.

        Raises:
            UserError: A shape, type or name is not as it should be.
        """
        c, device = self.config, self.simulator.residual_scale.device
        frames = torch.as_tensor(frames)
        _check_frames(frames, c)
        b, h = frames.shape[:2]
        tensors = {k: torch.as_tensor(v) for k, v in (senses or {}).items()}
        given = check_senses("senses", tensors, SenseSet(c.senses), b, h)
        known = given if c.past_actions else {}
        values = {
            s.name: known[s.name] if s.name in known else torch.zeros(_shape(s, b, h))
            for s in c.senses
        }
        there = torch.tensor([s.name in known for s in c.senses], dtype=torch.bool)
        batch = Batch(
            frames={"frames": frames},
            senses=values,
            presence=there.expand(b, h, -1),
            context_mask=torch.ones(b, h, dtype=torch.bool),
            target_mask=torch.ones(b, 0, dtype=torch.bool),
            text=self._texts(text, b),
            source=torch.full((b,), self._source(source)),
            subject=torch.zeros(b, dtype=torch.long),
            interval=torch.full((b,), self._interval(interval)),
            window=torch.arange(b),
            unit=torch.arange(b),
        )
        state = self._rollout.start(batch.to(device), seed)
        self.reset(state)
        return state

    def reset(self, state: State) -> None:
        """Go to where a state says; a saved one is `State(**torch.load(file))`."""
        _check_frames(state.frames, self.config)
        if list(state.senses) != [s.name for s in self.config.senses]:
            raise UserError(f"state: it has the senses {', '.join(state.senses)}, of another model")
        device = self.simulator.residual_scale.device
        self._world = SimulatedWorld(self._rollout, state.to(device))

    def step(self, actions: Mapping[str, Array]) -> Tensor:
        """Act for P frames, at most `config.predict`, and see what comes of it.

        Args:
            actions: By sense, what the body does, float (B, P, K, *shape); those that are left out
                count as absent.

        Returns:
            uint8 (B, P, 3, S, S).

        Raises:
            UserError: A shape, type or name is not as it should be, or nothing was started.
        """
        return self._started().step({k: torch.as_tensor(v) for k, v in actions.items()})

    def state(self) -> State:
        """Where the worlds stand: a value to keep, copy, save or fork (`State.rows`)."""
        return self._started().state()

    def _started(self) -> SimulatedWorld:
        if self._world is None:
            raise UserError("simulator: it stands nowhere yet; call start(frames, senses) first")
        return self._world

    def _texts(self, text: str | Sequence[str], worlds: int) -> list[str]:
        texts = [text] * worlds if isinstance(text, str) else list(text)
        if len(texts) != worlds:
            raise UserError(f"text: {len(texts)} strings, but there are {worlds} worlds")
        if any(texts) and not self.config.encoder.reads_text:
            raise UserError("text: this simulator was trained without text; leave it out")
        return texts

    def _source(self, name: str | None) -> int:
        names = self.config.sources
        if name is not None and name not in names:
            raise UserError(f"source: {name!r} is not known; there are {', '.join(names)}")
        return 0 if name is None else names.index(name)

    def _interval(self, seconds: float | None) -> float:
        if seconds is None:
            if self.config.rate is None:
                raise UserError(
                    "interval: this simulator was trained at its recordings' own rate; "
                    "give the seconds between frames"
                )
            return 1 / self.config.rate
        if not 0 < seconds < float("inf"):
            raise UserError(f"interval: {seconds} must be a positive number of seconds")
        return seconds

    def _save_pretrained(self, save_directory: Path) -> None:
        write_tensors(save_directory / WEIGHTS, self.state_dict(), step=0)
        write_config(save_directory / CONFIG, self.config)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **_: Any,
    ) -> "PretrainedSimulator":
        folder = Path(model_id)
        if not folder.is_dir():
            downloaded = snapshot_download(
                model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=[CONFIG, WEIGHTS],
            )
            folder = Path(downloaded)
        return _load(cls, folder)


def load_simulator(name: str | Path, device: str | torch.device = "cpu") -> PretrainedSimulator:
    """A trained simulator.

    Args:
        name: A released simulator's name (`kitchen-32`), the folder of a run that `mssim fit` has
            trained, or a folder that `mssim release` or `save_pretrained` has written.
        device: Where it runs.

    Raises:
        UserError: There is nothing of that name, or it cannot be read.
    """
    return _load(PretrainedSimulator, _folder(name)).to(device)


def load_example(name: str | Path = "kitchen-32") -> tuple[Tensor, dict[str, Tensor]]:
    """A short recording that a simulator has never seen, to start it at and to compare with.

    Args:
        name: As for `load_simulator`, where an example was released with it.

    Returns:
        Frames, uint8 (1, F, 3, S, S), and by sense what was felt on the way to each of them,
        float32 (1, F, K, *shape).

    Raises:
        UserError: There is none.
    """
    file = _folder(name) / EXAMPLE
    if not file.is_file():
        raise UserError(f"{file}: no example is there; `mssim release --example` writes one")
    tensors = load_file(file)
    return tensors.pop("frames"), tensors


def write_tensors(file: Path, tensors: Mapping[str, Tensor], step: int | None = None) -> None:
    """Write a safetensors file, whole or not at all.

    Args:
        file: The file.
        tensors: By name; weights as a `PretrainedSimulator` names them.
        step: Optimizer steps that weights were trained for.
    """
    temporary = file.with_name(f".{file.name}.partial")
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    # Not `save_file`, whose files nobody else may read.
    temporary.write_bytes(save(plain, None if step is None else {"global_step": str(step)}))
    temporary.replace(file)


def _folder(name: str | Path) -> Path:
    """The folder that a simulator's name stands for."""
    folder = Path(name)
    if not folder.is_dir() and str(name) in released():
        folder = PRETRAINED / str(name)
    if not folder.is_dir():
        raise UserError(
            f"{name}: neither a folder nor a released simulator (there are "
            f"{', '.join(released())}); give a run's folder, or one of `mssim release`"
        )
    return folder


def _load(kind: type[PretrainedSimulator], folder: Path) -> PretrainedSimulator:
    config = read_config(folder)
    weights = folder / WEIGHTS if (folder / WEIGHTS).is_file() else chosen(folder)
    saved = load_checkpoint(weights)["state_dict"]
    simulator = kind(config)
    check_fit(weights, saved, simulator.state_dict())
    simulator.load_state_dict(saved)
    return simulator


def _check_frames(frames: Tensor, config: SimulatorConfig) -> None:
    wanted = (config.context, 3, config.size, config.size)
    if frames.ndim != 5 or tuple(frames.shape[1:]) != wanted or not len(frames):
        shape = ", ".join(map(str, wanted))
        raise UserError(f"frames: the shape is {tuple(frames.shape)}, needed is (B, {shape})")
    if frames.dtype != torch.uint8:
        raise UserError(f"frames: the type is {frames.dtype}, needed is torch.uint8, 0 to 255")


def _shape(sense: Sense, worlds: int, frames: int) -> tuple[int, ...]:
    return (worlds, frames, sense.samples_per_frame, *sense.shape)
