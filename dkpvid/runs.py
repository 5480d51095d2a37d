"""The run folder: its checkpoint, its metrics and its previews."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from PIL import Image, ImageDraw
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dkpvid.annotate import keypoint_colors
from dkpvid.checkpoint import WEIGHTS_FILE, save_weights
from dkpvid.config import TrainConfig, to_dict
from dkpvid.errors import TrainingError, UsageError, WeightsError
from dkpvid.files import parse_json, write_then_rename
from dkpvid.models.autolink import AutoLink, Reconstruction
from dkpvid.report import write_run_report

CHECKPOINT_FILE = "checkpoint.safetensors"
# What may differ between a run and its continuation: where things are, how often something is written, and
# what a run that broke down is rescued with.
RESUMABLE_CHANGES = frozenset(
    (
        *("data", "run", "device", "workers", "decoder", "perceptual_weights"),
        *("steps", "log_every", "checkpoint_every", "preview_every"),
        *("learning_rate", "precision"),
        *("devices", "nodes", "strategy"),
    )
)


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
        if resume and not self._checkpoint.is_file():
            # Killed before its first checkpoint, or never started: from the beginning is the same result.
            resume = False
        elif self._checkpoint.is_file() and not (resume or overwrite):
            raise UsageError(
                f"{self.folder} already holds a run; pass --resume to go on or --overwrite to start anew"
            )
        if resume:
            _check_same_settings(_read_settings(settings), to_dict(config), self.folder)
        elif overwrite:
            for stale in (self._checkpoint, self._metrics, self.folder / WEIGHTS_FILE):
                stale.unlink(missing_ok=True)
        for name in ("preview", "tensorboard"):
            if (self.folder / name).is_symlink():
                raise UsageError(f"{self.folder / name} leads out of the run folder; remove that link")
        self.is_resumed = resume
        (self.folder / "preview").mkdir(parents=True, exist_ok=True)
        with write_then_rename(settings) as temporary:
            temporary.write_text(json.dumps(to_dict(config), indent=2) + "\n")

    @property
    def _checkpoint(self) -> Path:
        return self.folder / CHECKPOINT_FILE

    @property
    def _metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    def load(self, model: AutoLink, optimizer: torch.optim.Optimizer) -> int:
        """Restore model, optimizer and random state; returns the number of steps done (0 for a new run)."""
        if not self.is_resumed:
            self._truncate_metrics(0)
            self._open_tensorboard(0)
            return 0
        try:
            with safe_open(self._checkpoint, framework="pt") as file:
                step = int(file.metadata()["step"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if step < 1:
                raise ValueError(f"step {step}")
            _restore(tensors, model, optimizer)
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            first_line = str(error).partition("\n")[0]
            raise WeightsError(
                f"{self._checkpoint} is damaged ({first_line}); pass --overwrite to start anew"
            ) from None
        self._truncate_metrics(step)
        self._open_tensorboard(step)
        return step

    def save(self, step: int, model: AutoLink, optimizer: torch.optim.Optimizer) -> None:
        """Write the checkpoint and the weights for tracking, each at once or not at all.

        Raises:
            TrainingError: a weight is not finite; nothing is written.
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
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        save_weights(self.folder / WEIGHTS_FILE, model.config, model.detector, model.edge_map)
        with write_then_rename(self._checkpoint) as temporary:
            save_file(
                {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
                temporary,
                {"step": str(step)},
            )
        edges = zip(*model.edge_map.pairs.tolist(), model.edge_map.weights.tolist(), strict=True)
        write_run_report(self.folder, list(edges))

    @property
    def advice(self) -> str:
        """What to do after training broke down."""
        kept = "the last good state is kept" if self._checkpoint.is_file() else "nothing was saved yet"
        return f"{kept} in {self.folder}; resume with a lower --learning-rate or --precision 32"

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Append one line to metrics.jsonl, and to tensorboard/ where that package is installed."""
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
        """Write preview/STEP.png: keypoints on the image, edge map, visible patches, reconstruction.

        STEP.json beside it has the keypoints, in model space.

        Args:
            step: Names the file.
            images: [batch, 3, size, size], RGB in [-1, 1]; one column each.
            result: What the model made of them.
        """
        rows = [
            _marked(images, result.detections.keypoints),
            _to_bytes(result.edge_map.expand(-1, 3, -1, -1) / result.edge_map.amax().clamp_min(1e-6) * 2 - 1),
            _to_bytes(result.masked_images),
            _to_bytes(result.images),
        ]
        sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
        with write_then_rename(self.folder / "preview" / f"{step:06d}.png") as temporary:
            Image.fromarray(sheet).save(temporary)
        found = {
            "keypoints": result.detections.keypoints.tolist(),
            "heatmap_size": result.detections.heatmaps.shape[-1],
        }
        with write_then_rename(self.folder / "preview" / f"{step:06d}.json") as temporary:
            temporary.write_text(json.dumps(found) + "\n")


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
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = parse_json(path.read_text())
        if not isinstance(settings, dict):
            raise ValueError("expected settings by their names")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({error}); pass --overwrite to start anew") from None
    return settings


def _check_same_settings(old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    for name, value in new.items():
        # A setting that the run does not know is younger than the run, which did what is now the default.
        if name not in RESUMABLE_CHANGES and name in old and old[name] != value:
            raise UsageError(
                f"{folder} was trained with {name} = {old[name]}, got {value}; resume with the same "
                "settings, or start another run"
            )


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _to_bytes(images: Tensor) -> ndarray:
    """[batch, 3, size, size] in [-1, 1] to uint8 [batch, size, size, 3]."""
    pixels = (images.float().clamp(-1, 1) + 1) * 127.5
    array: ndarray = pixels.permute(0, 2, 3, 1).round().byte().cpu().numpy()
    return array


def _marked(images: Tensor, keypoints: Tensor) -> ndarray:
    """The images with a dot on each keypoint, a colour for each."""
    size = images.shape[-1]
    pictures = []
    for image, points in zip(_to_bytes(images), keypoints.float().cpu().numpy(), strict=True):
        picture = Image.fromarray(image)
        draw = ImageDraw.Draw(picture)
        colors = keypoint_colors(len(points)).astype(int).tolist()
        for number, (x, y) in enumerate((points + 1) / 2 * (size - 1)):
            radius = size / 64
            box = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(box, fill=tuple(colors[number]))
        pictures.append(np.asarray(picture))
    return np.stack(pictures)
