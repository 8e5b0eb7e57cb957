"""Write what tuning found: the settings as a preset, the table, the figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from connectomake.config.engine.layers import merge, nest
from connectomake.config.settings.decode_tune import is_highest_best
from connectomake.files import replacing
from connectomake.tables import write_columns
from connectomake.tune.decoding import Tuned
from connectomake.tune.scores import POOLED


def write_results(tuned: Tuned, best: Path, table: Path, figure: Path) -> None:
    """Write the table (TSV) and the figure (PNG), and then the best settings (YAML)."""
    from connectomake.draw.experiment.tuning import draw_tuning
    from connectomake.draw.figure import save_figure

    write_columns(table, tuned.table)
    title = f"tuned on {', '.join(tuned.volumes)}"
    save_figure(draw_tuning(tuned.table, tuned.chosen, tuned.criterion, title), figure)
    write_best(tuned, best)


def write_best(tuned: Tuned, path: Path) -> None:
    """Write the chosen settings as a preset of config/decode that holds nothing else; equal results, equal bytes."""
    settings: dict[str, Any] = {}
    for key, value in tuned.best.items():
        settings = merge(settings, nest(key.split("."), value))
    direction = "highest" if is_highest_best(tuned.criterion) else "lowest"
    text = (
        f"# Chosen by tune_decoding: {tuned.criterion} {tuned.value:.6g}, the {direction} of "
        f"{tuned.table['volume'].count(POOLED)} settings, on {', '.join(tuned.volumes)}.\n"
        f"{yaml.safe_dump(settings, sort_keys=False)}"
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
