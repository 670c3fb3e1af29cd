"""A trained simulator in two lines of Python, without Lightning.

    sim = mssim.load_simulator("kitchen-32")
    sim.start(frames, senses)
    frames = sim.step(actions)

It is loaded from a released simulator's name, from a run's folder, or from a folder with
`config.json` (a `SimulatorConfig`) and `model.safetensors`, as `mssim release` writes it.

Letters: B worlds side by side, H context frames, P frames a step, K samples a frame interval, S
pixels a side.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import ModelHubMixin, snapshot_download
from safetensors.torch import save_file
from torch import Tensor, nn

from mssim.action.encoder import EncoderConfig
from mssim.batch import Batch
from mssim.build import TowerConfig, build_simulator
from mssim.checkpoint import check_fit, chosen, load_checkpoint
from mssim.config import from_table, to_table
from mssim.errors import UserError
from mssim.resources import PRETRAINED, released
from mssim.senses import Sense, SenseSet
from mssim.video.diffusion import DiffusionConfig, SamplerConfig
from mssim.video.rollout import Rollout, State
from mssim.video.unet import UNetConfig
from mssim.world import SimulatedWorld, check_senses

CONFIG, WEIGHTS = "config.json", "model.safetensors"
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


@dataclass(frozen=True)
class SimulatorConfig:
    """All that builds a simulator, and what goes into it.

    Args:
        senses: The senses that it was trained on, in the network's order.
        sources: Names of the datasets that it was trained on; each has its own statistics.
        size: Pixels a side, S.
        rate: Frames a second; None where it was trained at the recordings' own rate.
        context: Context frames, H.
        predict: Most frames that one step predicts, P.
        past_actions: Whether it was trained with the senses of the context's steps.
        encoder: The action encoder.
        tower: What looks at frames and reads text.
        unet: The space-time network.
        diffusion: What is diffused, and how.
        sampler: How frames are drawn.
        drop_condition: Share of training windows that saw no action.
    """

    senses: list[Sense]
    sources: list[str]
    size: int
    rate: float | None = None
    context: int = 4
    predict: int = 8
    past_actions: bool = True
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    tower: TowerConfig = field(default_factory=TowerConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    drop_condition: float = 0.1


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
        frames: Tensor,
        senses: Mapping[str, Tensor] | None = None,
        *,
        text: str | Sequence[str] = "",
        source: str | None = None,
        interval: float | None = None,
        seed: int = 0,
    ) -> State:
        """Begin B worlds at what was just seen and felt.

        Args:
            frames: The last H frames, uint8 (B, H, 3, S, S), RGB.
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
        _check_frames(frames, c)
        b, h = frames.shape[:2]
        given = check_senses("senses", senses or {}, SenseSet(c.senses), b, h)
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
            text=_texts(text, b),
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
        self._world = SimulatedWorld(self._rollout, state)

    def step(self, actions: Mapping[str, Tensor]) -> Tensor:
        """Act for P frames, at most `config.predict`, and see what comes of it.

        Args:
            actions: By sense, what the body does, float (B, P, K, *shape); those that are left out
                count as absent.

        Returns:
            uint8 (B, P, 3, S, S).

        Raises:
            UserError: A shape, type or name is not as it should be, or nothing was started.
        """
        return self._started().step(dict(actions))

    def state(self) -> State:
        """Where the worlds stand: a value to keep, copy, save or fork (`State.rows`)."""
        return self._started().state()

    def _started(self) -> SimulatedWorld:
        if self._world is None:
            raise UserError("simulator: it stands nowhere yet; call start(frames, senses) first")
        return self._world

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
        write_weights(save_directory / WEIGHTS, self.state_dict(), step=0)
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
    folder = Path(name)
    if not folder.is_dir() and str(name) in released():
        folder = PRETRAINED / str(name)
    if not folder.is_dir():
        raise UserError(
            f"{name}: neither a folder nor a released simulator (there are "
            f"{', '.join(released())}); give a run's folder, or one of `mssim release`"
        )
    return _load(PretrainedSimulator, folder).to(device)


def read_config(folder: Path) -> SimulatorConfig:
    """The config of a released simulator or of a run.

    Args:
        folder: Holds `config.json`, or the `config.yaml` of a run.

    Raises:
        UserError: It holds neither, or it is not one of a simulator.
    """
    file = folder / CONFIG
    if file.is_file():
        try:
            table = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{file}: not JSON ({error}); copy or release it again") from None
        return from_table(SimulatorConfig, table, str(file))
    file = folder / "config.yaml"
    if file.is_file():
        return _config_of_run(file)
    raise UserError(
        f"{folder}: no simulator is there (it has neither {CONFIG} nor config.yaml); give a run's "
        "folder, or one that `mssim release` has written"
    )


def write_config(file: Path, config: SimulatorConfig) -> None:
    """Write a config as JSON, whole or not at all."""
    temporary = file.with_name(f".{file.name}.partial")
    temporary.write_text(json.dumps(to_table(config), indent=2) + "\n", encoding="utf-8")
    temporary.replace(file)


def write_weights(file: Path, weights: Mapping[str, Tensor], step: int) -> None:
    """Write weights, whole or not at all.

    Args:
        file: A safetensors file.
        weights: Tensors by name, as a `PretrainedSimulator` has them.
        step: Optimizer steps that they were trained for.
    """
    temporary = file.with_name(f".{file.name}.partial")
    plain = {k: v.detach().cpu().contiguous() for k, v in weights.items()}
    save_file(plain, temporary, {"global_step": str(step)})
    temporary.replace(file)


def _load(kind: type[PretrainedSimulator], folder: Path) -> PretrainedSimulator:
    config = read_config(folder)
    weights = folder / WEIGHTS if (folder / WEIGHTS).is_file() else chosen(folder)
    saved = load_checkpoint(weights)["state_dict"]
    simulator = kind(config)
    check_fit(weights, saved, simulator.state_dict())
    simulator.load_state_dict(saved)
    return simulator


def _config_of_run(file: Path) -> SimulatorConfig:
    """From the `config.yaml` that `mssim fit` has written, every value in it."""
    try:
        table = yaml.safe_load(file.read_text(encoding="utf-8"))
        data, model = table["data"], table["model"]
        kind, made = model["class_path"].rpartition(".")[2], model["init_args"]
        senses = data["senses"]["senses"]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file}: not the config of a run that `mssim fit` has written") from None
    if kind != "Simulator":
        raise UserError(f"{file}: a run of {kind}; give one of a Simulator")
    parts = ("encoder", "tower", "unet", "diffusion", "sampler", "drop_condition")
    used = data.get("use_senses")
    stride = min(data.get("eval_strides") or data.get("strides") or [1])
    rate = data.get("rate")
    whole = {
        "senses": [s for s in senses if used is None or s["name"] in used],
        "sources": list(data["sources"]),
        "rate": None if rate is None else rate / stride,
        **{k: data[k] for k in ("size", "context", "predict", "past_actions") if k in data},
        **{k: made[k] for k in parts if k in made},
    }
    return from_table(SimulatorConfig, whole, str(file))


def _check_frames(frames: Tensor, config: SimulatorConfig) -> None:
    wanted = (config.context, 3, config.size, config.size)
    if frames.ndim != 5 or tuple(frames.shape[1:]) != wanted or not len(frames):
        shape = ", ".join(map(str, wanted))
        raise UserError(f"frames: the shape is {tuple(frames.shape)}, needed is (B, {shape})")
    if frames.dtype != torch.uint8:
        raise UserError(f"frames: the type is {frames.dtype}, needed is torch.uint8, 0 to 255")


def _texts(text: str | Sequence[str], worlds: int) -> list[str]:
    texts = [text] * worlds if isinstance(text, str) else list(text)
    if len(texts) != worlds:
        raise UserError(f"text: {len(texts)} strings, but there are {worlds} worlds; give as many")
    return texts


def _shape(sense: Sense, worlds: int, frames: int) -> tuple[int, ...]:
    return (worlds, frames, sense.samples_per_frame, *sense.shape)
