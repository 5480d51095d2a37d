"""The settings that a run was begun with, against those that it is to go on with."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from dkpvid.config import DistillConfig, TrainConfig
from dkpvid.config_json import to_dict
from dkpvid.errors import UsageError
from dkpvid.files import parse_json

# What may differ between a run and its continuation: where things are, how often something is written, and
# what a run that broke down is rescued with.
RESUMABLE_CHANGES = frozenset(
    (
        *("data", "run", "device", "workers", "decoder", "perceptual_weights", "backbone_weights"),
        *("steps", "log_every", "checkpoint_every", "preview_every"),
        *("learning_rate", "precision"),
        *("devices", "nodes", "strategy", "keep", "deterministic"),
    )
)


def read_settings(path: Path) -> dict[str, Any]:
    """The config.json of a run.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        settings = parse_json(path.read_text())
        if not isinstance(settings, dict):
            raise ValueError("expected settings by their names")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({error}); pass --overwrite to start anew") from None
    return settings


def check_same_settings(old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    """See that a run may go on with other settings.

    Args:
        old: Those that it was begun with, perhaps before some of them were known.
        new: Those that it is to go on with.
        folder: The run folder, for the message.

    Raises:
        UsageError: it may not: the result would be that of neither.
    """
    # A setting that the run does not know is younger than the run, which did what is now the default.
    defaults = _plain_defaults(TrainConfig) | _plain_defaults(DistillConfig)
    for name, value in new.items():
        if name in RESUMABLE_CHANGES or name not in {**defaults, **old}:
            continue
        done = old.get(name, defaults.get(name))
        if isinstance(done, dict) and isinstance(defaults.get(name), dict):
            done = {**defaults[name], **done}
        if done != value:
            raise UsageError(
                f"{folder} was trained with {name} = {done}, got {value}; resume with the same settings, "
                "or start another run"
            )


def _plain_defaults(kind: type[TrainConfig]) -> dict[str, Any]:
    """The settings that need not be given, as `to_dict` writes them."""
    given = [field.name for field in fields(kind) if field.default is field.default_factory]
    required: dict[str, Any] = dict.fromkeys(given, Path())
    return {name: value for name, value in to_dict(kind(**required)).items() if name not in required}
