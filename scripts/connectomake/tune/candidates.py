"""What a candidate's settings give on one volume: by a sweep where that is possible, else by decoding it in full."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import nan
from typing import Any

import numpy as np

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_tune import VOXEL_CRITERIA, TuneConfig, lay_over
from connectomake.config.settings.measure import MeasureConfig
from connectomake.decode.channels import Channels
from connectomake.decode.registry import decode
from connectomake.decode.whole import choose_maps, count_objects, read_channels
from connectomake.geometry import Box
from connectomake.measure.contingency import contingency_of_arrays
from connectomake.measure.dense_metrics import dense_metrics
from connectomake.measure.skeleton_metrics import skeleton_metrics
from connectomake.tune.scores import Candidate
from connectomake.tune.sweep.sweep import sweep_blocks
from connectomake.tune.volumes import TuningVolume

log = logging.getLogger(__name__)


def why_not_sweep(cfg: DecodeConfig, tune: TuneConfig) -> str:
    """Return why thresholds cannot be tried in one sweep; empty where they can."""
    if cfg.decoder != "affinity_cc":
        return f"the decoder is {cfg.decoder}, not affinity_cc"
    if cfg.fill != "none":
        return f"fill is {cfg.fill}, not none"
    if cfg.remove_small == "neighbor" and cfg.min_size_vx > 1:
        return "small objects join their neighbors"
    if tune.criterion in VOXEL_CRITERIA:
        return f"{tune.criterion} is measured on all voxels"
    return ""


def sweep_volume(
    volume: TuningVolume, cfg: DecodeConfig, thresholds: Sequence[float], measure: MeasureConfig, threads: int
) -> tuple[list[dict[str, float]], tuple[float, float]]:
    """Measure all thresholds on one volume along its skeletons, from one reading of its affinities.

    Memory is one layer of chunks of the affinities for each thread, and what `sweep_blocks` says.

    Returns
    -------
    numbers
        The skeleton metrics at each threshold; empty where there are no skeletons.
    extremes
        The lowest and the highest affinity, 0 to 1; NaN where there are no skeletons, and nothing was read.
    """
    if volume.skeletons is None:
        return [{} for _ in thresholds], (nan, nan)
    indices, channels = choose_maps(volume.prediction, cfg)
    order, edge_offset = channels.nearest()
    maps, extremes = volume.maps, []

    def read(begin: int, end: int) -> np.ndarray:
        _, height, width = maps.shape_zyx
        block = read_channels(maps, [indices[i] for i in order], Box((begin, 0, 0), (end, height, width)))
        extremes.append(_extremes(block))
        return block

    labels = sweep_blocks(
        read,
        maps.shape_zyx,
        thresholds,
        volume.nodes_zyx,
        min_size_vx=0 if cfg.remove_small == "none" else cfg.min_size_vx,
        edge_offset=edge_offset,
        depth=(maps.file_chunks_zyx or (64,))[0],
        threads=threads,
    )
    with ThreadPoolExecutor(max(1, threads)) as pool:
        numbers = list(pool.map(lambda segment: _along_skeletons(volume, segment, measure), labels))
    low, high = np.array(extremes).T
    return numbers, (float(low.min()), float(high.max()))


class FullDecodes:
    """Decodes candidates one by one, the whole volume in memory; the maps of the last volume stay there."""

    def __init__(self, cfg: DecodeConfig, measure: MeasureConfig, threads: int) -> None:
        self.cfg, self.measure, self.threads = cfg, measure, threads
        self._held: tuple[Any, np.ndarray] | None = None

    def settings(self, candidate: Candidate) -> DecodeConfig:
        """Return the decode settings of a candidate, for the whole volume at once."""
        whole = lay_over(self.cfg, {**candidate, "block_zyx_vx": None, "block_halo_vx": 0, "jobs": 1})
        return DecodeConfig.model_validate(whole)

    def measure_on(self, volume: TuningVolume, candidate: Candidate) -> dict[str, float]:
        """Return the skeleton and voxel metrics of a candidate on a volume, whichever it has a truth for."""
        cfg = self.settings(candidate)
        maps, channels = self._read(volume, cfg)
        labels = decode(maps, cfg, channels=channels, threads=self.threads)
        numbers = _along_skeletons(volume, labels[tuple(volume.nodes_zyx.T)], self.measure)
        if volume.has_labels:
            table = contingency_of_arrays(volume.truth, volume.coverage.bring_array(labels), threads=self.threads)
            numbers |= dense_metrics(table, self.measure)
        return numbers | {"n_objects": count_objects(labels, cfg)}

    def extremes(self) -> tuple[float, float]:
        """Return the lowest and the highest value of the maps that were read last, 0 to 1."""
        return _extremes(self._held[1]) if self._held else (0.0, 1.0)

    def _read(self, volume: TuningVolume, cfg: DecodeConfig) -> tuple[np.ndarray, Channels]:
        indices, channels = choose_maps(volume.prediction, cfg)
        key = (volume.affinities, indices)
        if self._held is None or self._held[0] != key:
            self._held = None  # lest two volumes be in memory
            self._held = (key, read_channels(volume.maps, indices))
        return self._held[1], channels


def _along_skeletons(volume: TuningVolume, segment: np.ndarray, measure: MeasureConfig) -> dict[str, float]:
    skeletons = volume.skeletons
    if skeletons is None:
        return {}
    found = skeleton_metrics(
        skeletons.edges,
        skeletons.node_skeleton_id,
        skeletons.node_pos_nm,
        segment,
        ignored_merger_nodes=measure.ignored_merger_nodes,
    )
    del found["per_skeleton"]
    return found


def _extremes(values: np.ndarray) -> tuple[float, float]:
    top = 255 if values.dtype == np.uint8 else 1
    return float(np.fmin.reduce(values, axis=None)) / top, float(np.fmax.reduce(values, axis=None)) / top
