"""Settings as plain JSON values, and back, checked."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from dkpvid.config import PRESETS, ModelConfig, TrainConfig
from dkpvid.errors import UsageError

Config = TypeVar("Config")


def to_dict(config: Any) -> dict[str, Any]:
    """A settings object as plain JSON values."""
    return {name: _plain(value) for name, value in asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def from_dict(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """The settings object of which `to_dict` made these values; what is missing gets its default.

    Raises:
        UsageError: a setting is unknown, has another type, or is not allowed.
        TypeError: one that has no default is missing.
    """
    hints = get_type_hints(kind)
    if unknown := sorted(values.keys() - hints.keys()):
        raise UsageError(f"unknown setting {unknown[0]!r}")
    return kind(**{name: _parsed(name, value, hints[name]) for name, value in values.items()})


def _parsed(name: str, value: Any, hint: Any) -> Any:
    if get_origin(hint) is tuple:
        if isinstance(value, list | tuple) and all(isinstance(inner, str) for inner in value):
            return tuple(value)
        raise UsageError(f"{name.replace('_', ' ')} must be a list of names, got {value!r}")
    kinds = get_args(hint) or (hint,)
    for kind in kinds:
        if is_dataclass(kind) and isinstance(value, dict):
            return from_dict(kind, value)  # type: ignore[arg-type]
        if kind in (Path, float) and type(value) in ((str,) if kind is Path else (int,)):
            return kind(value)
        # Not isinstance alone: True is an int.
        if isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
            return value
    allowed = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
    raise UsageError(f"{name.replace('_', ' ')} must be {allowed}, got {value!r}")


def combined(
    kind: type[Config], stored: Mapping[str, Any], preset: str | None, changes: Mapping[str, Any]
) -> Config:
    """Settings of a training: those of an earlier run, changed by a preset and by what was given.

    Args:
        kind: TrainConfig, or DistillConfig.
        stored: What `to_dict` made; what is missing gets its default.
        preset: A name of `PRESETS`.
        changes: By the names of the fields of `kind` and of ModelConfig; `depth.model` means one in a group.

    Raises:
        UsageError: there is no such preset, or a value is not allowed.
    """
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
    values = dict(stored)
    for name, value in {**(PRESETS[preset] if preset else {}), **changes}.items():
        group, _, inner = name.rpartition(".")
        if not group and name in {field.name for field in fields(ModelConfig)}:
            group = "model"
        if group:
            values[group] = {**values.get(group, {}), inner: value}
        elif name != "gamma" or kind is not TrainConfig:  # presets have it, but only a student needs it
            values[name] = value
    return from_dict(kind, values)
