"""The preset that measuring comes to: the settings, and in its comments every number that they follow from."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from math import isnan
from pathlib import Path

from connectomake.autoconfig.measure import CPU_SHARE, GPU_SHARE, SPARE, Found
from connectomake.config.settings.train import TrainConfig
from connectomake.errors import ConfigError
from connectomake.files import replacing
from connectomake.geometry import to_triple

SUFFIX = "_auto"
MARK = "# Measured by autoconfig"
SCHEMA = "# yaml-language-server: $schema=../../workflow/schemas/train.schema.json"


def write_preset(file: Path, name: str, cfg: TrainConfig, found: Found) -> None:
    """Write a preset that is based on another, atomically.

    Parameters
    ----------
    file
        The file; replaced only where it was measured too.
    name
        The preset that it is based on.
    cfg
        That preset.
    found
        What was measured.

    Raises
    ------
    ConfigError
        There is a file of that name which somebody wrote by hand.
    """
    check_own(file)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    head = f"{MARK} on {now}: {name}, fitted to this machine. To change it, copy it."
    comments = [f"# {line}" if line else "#" for line in explain(name, cfg, found)]
    settings = [f"{key}: {value}" for key, value in settings_of(cfg, found).items()]
    with replacing(file) as temporary:
        temporary.write_text("\n".join([SCHEMA, head, *comments, f"base: {name}", *settings, ""]), encoding="utf-8")


def check_own(file: Path) -> None:
    """Reject replacing a preset that was not measured.

    Raises
    ------
    ConfigError
        It was written by hand.
    """
    if file.exists() and MARK not in file.read_text(encoding="utf-8"):
        raise ConfigError(
            f"{file} was not written by autoconfig, and is not replaced",
            expected=f"a line that begins with {MARK!r}",
            hint="rename it",
        )


def settings_of(cfg: TrainConfig, found: Found) -> dict[str, object]:
    """Return the keys of the preset with their values."""
    settings: dict[str, object] = {
        "batch": found.size.batch,
        "accumulate": found.accumulate,
        "devices": found.devices,
        "precision": found.precision,
        "workers": found.workers,
        "memory_gb": found.memory_gb,
    }
    if found.size.patch_zyx != to_triple(cfg.patch_zyx_vx):
        settings = {"patch_zyx_vx": list(found.size.patch_zyx)} | settings
    return settings


def explain(name: str, cfg: TrainConfig, found: Found) -> list[str]:
    """Return what was measured, and what to expect, in lines for people."""
    machine = found.machine
    lines = [
        "",
        f"machine    {machine.host}, cores: {machine.cores} ({machine.cores_by}), "
        f"{machine.memory_bytes / 1e9:.1f} GB of memory at hand ({machine.memory_by})",
        *(f"GPU        {gpu}: {free / 1e9:.1f} of {total / 1e9:.1f} GB free" for gpu, free, total in found.gpus),
        f"software   Python {platform.python_version()}, torch {version('torch')}, monai {version('monai')}",
        f"network    {cfg.model.architecture}, {found.parameters:,} parameters",
        "trials     (patches x voxels z, y, x; steps of training: forward, backward, optimizer)",
        *(f"  {trial}" for trial in found.tried),
        f"margin     {_margin(found)}",
        f"batch      {cfg.batch} x {cfg.accumulate} x {cfg.devices} (batch x accumulate x devices) of {name} became "
        f"{found.size.batch} x {found.accumulate} x {found.devices}: as many patches a step",
        f"loader     {_loader(found)}",
        f"training   {_expectation(cfg, found)}",
    ]
    if found.size.patch_zyx != to_triple(cfg.patch_zyx_vx):
        lines.append(f"patch      {list(found.size.patch_zyx)} instead of {list(cfg.patch_zyx_vx)}")
    if not found.gpus:
        lines.append("no GPU     was found: this is what the CPU can do. Presets made for CPUs are demo and half_hour")
    return [*lines, ""]


def _margin(found: Found) -> str:
    if found.gpus:
        return f"a trial fits where it takes at most {GPU_SHARE:.0%} of the GPU's free memory"
    return f"a trial fits where it takes at most {CPU_SHARE:.0%} of the memory at hand, less memory_gb for volumes"


def _loader(found: Found) -> str:
    if isnan(found.patches_per_s):
        return "could not be measured in the time or memory there was"
    needed = found.size.batch / found.step_s
    text = f"{found.patches_per_s:.3g} patches a second for one worker; a device takes {needed:.3g}"
    if found.gpus and found.patches_per_s * found.workers < needed:
        text += f": {found.workers} workers, all the cores there are, are too few; the GPU will wait for them"
    elif found.gpus:
        text += f"; workers are enough for {SPARE:g} times that"
    return text


def _expectation(cfg: TrainConfig, found: Found) -> str:
    step_s = found.accumulate * found.batch_s
    seconds = cfg.max_steps * step_s
    how = "" if found.is_measured else " (extrapolated from smaller batches: there was no time to try this one)"
    limit = cfg.max_minutes and seconds > 60 * cfg.max_minutes
    ending = f"; max_minutes {cfg.max_minutes:g} ends it sooner" if limit else ""
    return f"{step_s:.3g} s a step{how}; {cfg.max_steps:,} steps take about {_long(seconds)}{ending}"


def _long(seconds: float) -> str:
    """Write a duration in the unit that people would use."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.0f} seconds"
