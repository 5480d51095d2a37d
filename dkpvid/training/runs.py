"""The run folder: its checkpoints, its metrics and its previews."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dkpvid.checkpoint import WEIGHTS_FILE, save_weights
from dkpvid.config import TrainConfig
from dkpvid.config_json import to_dict
from dkpvid.errors import TrainingError, UsageError, WeightsError
from dkpvid.files import parse_json, write_then_rename
from dkpvid.models.autolink import AutoLink, Reconstruction
from dkpvid.pages.run import write_run_report
from dkpvid.training.earlier import check_same_settings, read_settings
from dkpvid.training.environment import describe_environment
from dkpvid.training.previews import remove_previews, save_preview

CHECKPOINT_FILE = "checkpoint.safetensors"


class Run:
    """A folder that holds one training run, so that it can be stopped at any moment and resumed."""

    def __init__(self, config: TrainConfig, resume: bool, overwrite: bool) -> None:
        """Open or create the folder.

        Raises:
            UsageError: the folder holds a run and neither resuming nor overwriting was asked for, or the
                settings to resume with are not those of the run.
        """
        self._tensorboard: Any = None
        self.folder = config.run
        self.config = config
        settings = self.folder / "config.json"
        if resume and not self._checkpoints():
            # Killed before its first checkpoint, or never started: from the beginning is the same result.
            resume = False
        elif self._checkpoints() and not (resume or overwrite):
            raise UsageError(
                f"{self.folder} already holds a run; pass --resume to go on or --overwrite to start anew"
            )
        if resume:
            check_same_settings(read_settings(settings), to_dict(config), self.folder)
        elif overwrite:
            for stale in (*self._checkpoints(), self._metrics, self.folder / WEIGHTS_FILE):
                stale.unlink(missing_ok=True)
        for name in ("preview", "tensorboard"):
            if (self.folder / name).is_symlink():
                raise UsageError(f"{self.folder / name} leads out of the run folder; remove that link")
        self.is_resumed = resume
        self.remarks: list[str] = []
        """What the user should know about how the run was resumed, one line each."""
        self._saved_step: int | None = None
        with self._writing():
            (self.folder / "preview").mkdir(parents=True, exist_ok=True)
            for folder in (self.folder, self.folder / "preview"):
                for leftover in folder.glob(".*.part.*"):  # of a process that was killed while it wrote
                    leftover.unlink()
            with write_then_rename(settings) as temporary:
                temporary.write_text(json.dumps(to_dict(config), indent=2) + "\n")

    @property
    def _checkpoint(self) -> Path:
        return self.folder / CHECKPOINT_FILE

    def _checkpoints(self) -> list[Path]:
        """The checkpoints that are there, the newest first: checkpoint, then checkpoint-STEP."""
        numbered = [
            path for path in self.folder.glob("checkpoint-*.safetensors") if _number(path).isdecimal()
        ]
        found = [self._checkpoint, *sorted(numbered, key=lambda path: int(_number(path)), reverse=True)]
        return [path for path in found if path.is_file()]

    @property
    def _metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    def load(self, model: AutoLink, optimizer: torch.optim.Optimizer) -> int:
        """Restore model, optimizer and random state; returns the number of steps done (0 for a new run).

        Of several checkpoints it takes the newest that can be read; `remarks` then names the damaged ones.

        Raises:
            WeightsError: none can be read.
        """
        if not self.is_resumed:
            self._truncate_metrics(0)
            remove_previews(self.folder / "preview", after=0)
            self._open_tensorboard(0)
            return 0
        damages = []
        for path in self._checkpoints():
            try:
                step = _load_checkpoint(path, model, optimizer)
            except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
                first_line = str(error).partition("\n")[0]
                damages.append(f"{path} is damaged ({first_line})")
                continue
            self.remarks += [f"{damage}; going on from step {step}" for damage in damages]
            # A damaged newest one is replaced by the next, instead of being kept as an older one.
            self._saved_step = step if path == self._checkpoint else None
            self._truncate_metrics(step)
            remove_previews(self.folder / "preview", after=step)
            self._open_tensorboard(step)
            return step
        raise WeightsError(f"{'; '.join(damages)}; pass --overwrite to start anew")

    def record_environment(self, step: int, data: str, device: str, processes: int) -> None:
        """Add a line to environment.jsonl, and to `remarks` where the run was begun with other frames.

        Args:
            step: Where this start or resumption begins.
            data: Digest of the frames.
            device: Where the first process runs.
            processes: How many train together.
        """
        path = self.folder / "environment.jsonl"
        earlier = []
        if self.is_resumed and path.is_file():
            earlier = path.read_text(errors="replace").splitlines()
            if any(f'"data": "{data}"' not in line for line in earlier[-1:]):
                self.remarks.append(
                    f"the frames are not those that {self.folder} was trained on before; "
                    "the result is not that of an uninterrupted run"
                )
        facts = {"step": step, "data": data, "device": device, "processes": processes}
        lines = [*earlier, json.dumps({**facts, **describe_environment()})]
        with self._writing(), write_then_rename(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines))

    def save(self, step: int, model: AutoLink, optimizer: torch.optim.Optimizer) -> None:
        """Write the checkpoint and the weights for tracking, each at once or not at all.

        The checkpoint before it is kept beside it under its step's number, up to `TrainConfig.keep` in all.

        Raises:
            TrainingError: a weight is not finite, and nothing is written; or the disk is full.
        """
        for name, value in model.named_parameters():
            if not torch.isfinite(value).all():
                raise TrainingError(f"{name} is not finite at step {step}; {self.advice}")
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for index, parameter in enumerate(parameters):
            tensors |= {
                f"optimizer.{index}.{name}": value for name, value in optimizer.state[parameter].items()
            }
        tensors["random.cpu"] = torch.get_rng_state()
        if (device := parameters[0].device).type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(device)
        with self._writing():
            save_weights(self.folder / WEIGHTS_FILE, model.config, model.detector, model.edge_map)
            with write_then_rename(self._checkpoint) as temporary:
                save_file(
                    {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
                    temporary,
                    {"step": str(step)},
                )
                self._number_last_checkpoint(step)
            for path in self._checkpoints()[self.config.keep :]:
                path.unlink()
            write_run_report(self.folder, model.edge_map.skeleton)
        self._saved_step = step

    def _number_last_checkpoint(self, step: int) -> None:
        """Keep the last checkpoint under its step's number, out of the way of the one of this step."""
        if self.config.keep > 1 and self._saved_step not in (None, step) and self._checkpoint.is_file():
            self._checkpoint.replace(self.folder / f"checkpoint-{self._saved_step:06d}.safetensors")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn a full disk, or any other failure to write, into one line."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"cannot write to {self.folder} ({error}); {self._kept}; make room and pass --resume"
            ) from None

    @property
    def advice(self) -> str:
        """What to do after training broke down."""
        return f"{self._kept} in {self.folder}; resume with a lower --learning-rate or --precision 32"

    @property
    def _kept(self) -> str:
        return "the last good state is kept" if self._checkpoints() else "nothing was saved yet"

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Append one line to metrics.jsonl, and to tensorboard/ where that package is installed."""
        with self._writing():
            with self._metrics.open("a") as file:
                file.write(json.dumps({"step": step, **metrics}) + "\n")
            if self._tensorboard is not None:
                for name, value in metrics.items():
                    self._tensorboard.add_scalar(name, value, step)

    def _open_tensorboard(self, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        # Of what was logged after the checkpoint, only the second time counts.
        self._tensorboard = SummaryWriter(self.folder / "tensorboard", purge_step=step + 1)

    def _truncate_metrics(self, step: int) -> None:
        """Drop what was logged after the checkpoint: those steps are taken again."""
        kept = []
        if self._metrics.is_file():
            for line in self._metrics.read_text(errors="replace").splitlines():
                try:
                    if parse_json(line)["step"] <= step:
                        kept.append(line)
                except (ValueError, KeyError, TypeError):
                    break  # a line cut short by a kill; nothing after it counts
        with write_then_rename(self._metrics) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept))

    def save_preview(self, step: int, images: Tensor, result: Reconstruction) -> None:
        """Write preview/STEP.png and STEP.json; see `dkpvid.training.previews.save_preview`."""
        with self._writing():
            save_preview(self.folder / "preview", step, images, result)


def _number(checkpoint: Path) -> str:
    return checkpoint.stem.removeprefix("checkpoint-")


def _load_checkpoint(path: Path, model: AutoLink, optimizer: torch.optim.Optimizer) -> int:
    with safe_open(path, framework="pt") as file:
        step = int(file.metadata()["step"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if step < 1:
        raise ValueError(f"step {step}")
    _restore(tensors, model, optimizer)
    return step


def _restore(tensors: dict[str, Tensor], model: AutoLink, optimizer: torch.optim.Optimizer) -> None:
    model.load_state_dict(_with_prefix(tensors, "model."))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        state = _with_prefix(tensors, f"optimizer.{index}.")
        if any(name != "step" and value.shape != parameter.shape for name, value in state.items()):
            raise ValueError(f"the optimizer's state {index} does not fit the model")
        optimizer.state[parameter] = {
            name: value if name == "step" else value.to(parameter.device) for name, value in state.items()
        }
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and (device := parameters[0].device).type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], device)


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
