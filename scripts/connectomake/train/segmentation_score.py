"""Measure a network by what comes out in the end: validation volumes, predicted, decoded, compared with their truth.

The thirteen thresholds of BANIS are tried each time, and the best counts: a network is not blamed for a threshold that
suits an earlier one. All volumes share one threshold.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from connectomake.channels import Channel
from connectomake.config.settings.data import SkeletonConfig
from connectomake.config.settings.decode_tune import BANIS_THRESHOLDS, is_highest_best
from connectomake.config.settings.measure import MeasureConfig
from connectomake.config.settings.train import SegmentationConfig, TrainConfig
from connectomake.decode.channels import Channels
from connectomake.decode.components.components import affinity_cc3d
from connectomake.errors import ConfigError, ConnectomakeError, DataError
from connectomake.geometry import Box, Triple, position_of, to_triple, to_triple_nm, voxel_at
from connectomake.ingest.skeletons.volume import skeletonize_labels
from connectomake.measure.contingency import contingency_of_arrays
from connectomake.measure.dense_metrics import dense_metrics
from connectomake.measure.skeleton_metrics import skeleton_metrics
from connectomake.precision.choose import choose_for_prediction
from connectomake.predict.network.evaluate import Ensemble, Predictor
from connectomake.predict.network.recipe import Recipe
from connectomake.predict.windows.grid import WindowGrid, reflect_pad
from connectomake.predict.windows.sliding import SlidingWindow
from connectomake.split.table import SplitRow
from connectomake.train.normalisation import Normalisation
from connectomake.train.volumes import LabelledBox
from connectomake.tune.scores import Numbers, choose, pool
from connectomake.tune.sweep.sweep import sweep_thresholds
from connectomake.volumes.formats.array import FileArray, Metadata
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.nodes import clip_skeletons
from connectomake.volumes.skeletons import Skeletons, load_skeletons
from connectomake.volumes.volume import Volume

log = logging.getLogger(__name__)

OVERLAP = 0.5
METRICS = {"nerl": "nerl", "voi": "voxel_voi_sum"}  # criterion -> name of the number in measure and tune
NO_SKELETONS = Skeletons(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 3))), np.zeros((0, 3), np.int64)


@dataclass(frozen=True)
class _Truth:
    """What is segmented of one box, and what that is measured against: labels or, where they are None, skeletons."""

    box: LabelledBox
    normalisation: Normalisation
    part: Box
    skeletons: Skeletons
    nodes_zyx: np.ndarray
    labels: np.ndarray | None


class SegmentationScore:
    """The validation volumes with their truth, prepared once; then asked about one network after another.

    Beyond the volumes it holds the truth of each (nodes of skeletons, or labels) and, while it works, a copy of the
    network and on its device 24 bytes for each voxel of a volume, of which there are `largest_vx` at most. Tracing
    skeletons takes 40 bytes a voxel and 2 to 5 seconds per million voxels, once.

    Parameters
    ----------
    boxes
        The validation boxes.
    cfg
        The training; its `validate_segmentation` says by what to measure.
    normalisation
        Of the grey values.
    channels
        What the network gives.
    skeletons
        For each box skeletons in nm from the centre of its first voxel, as `read_skeletons` gives them, or None where
        they shall be traced in its labels. By default all are traced.

    Raises
    ------
    ConfigError
        There is no box, or the network does not learn the affinities to the nearest voxels.
    DataError
        No box holds an object that the criterion could be measured on.
    MissingPackageError
        Skeletons have to be traced, and kimimaro is not installed.
    """

    def __init__(
        self,
        boxes: Sequence[LabelledBox],
        cfg: TrainConfig,
        normalisation: Normalisation,
        channels: Sequence[Channel],
        skeletons: Sequence[Skeletons | None] | None = None,
    ) -> None:
        self.cfg = cfg
        self.settings = cfg.validate_segmentation or SegmentationConfig()
        self.order, self.edge_offset = _find_nearest(channels)
        if not boxes:
            raise ConfigError(
                "train.validate_segmentation needs a volume to validate on",
                hint="give a volume the role validate, or set split.method to slab or blocks",
            )
        given = zip(boxes, skeletons or [None] * len(boxes), normalisation.of_all(boxes), strict=True)
        prepared = [self._prepare(*of_box) for of_box in given]
        self.truths = [truth for truth in prepared if truth is not None]
        if not self.truths:
            raise DataError(
                f"no validation volume holds an object to measure {self.settings.criterion} on",
                got=", ".join(box.name for box in boxes),
                hint=f"look at their labels; objects below {SkeletonConfig().dust_vx} voxels get no skeleton",
            )

    def score(self, network: nn.Module) -> dict[str, float]:
        """Segment all volumes with a network, and measure them together.

        Parameters
        ----------
        network
            From (N, C, Z, Y, X) to logits, on the device that is to be used; it is copied, not changed.

        Returns
        -------
        dict
            ``segmentation_nerl`` (0 to 1, the higher the better) or ``segmentation_voi`` (bits, the lower the better)
            at the best threshold, and ``segmentation_threshold``, 0 to 1, of sigmoid(0.2 x), which prediction calls
            scaled_sigmoid. The same for the same weights on the same machine.

        Raises
        ------
        ModelError
            The network gives NaN.
        ConnectomakeError
            The GPU's memory does not suffice.
        """
        # A copy, since prediction wants another memory layout than training: changed weights would train on otherwise.
        twin = deepcopy(network).eval()
        by_volume = [self._measure(truth, self._predict(twin, truth)) for truth in self.truths]
        pooled = [pool(of_threshold) for of_threshold in zip(*by_volume, strict=True)]
        metric = METRICS[self.settings.criterion]
        values = [found[metric] for found in pooled]
        at = choose(values, is_highest_best(metric), BANIS_THRESHOLDS)
        return {
            f"segmentation_{self.settings.criterion}": values[at],
            "segmentation_threshold": BANIS_THRESHOLDS[at],
        }

    def _prepare(self, box: LabelledBox, skeletons: Skeletons | None, normalisation: Normalisation) -> _Truth | None:
        """Read or trace the truth of one box; None where it holds nothing."""
        part = middle_of(box.shape_zyx, self.settings.largest_vx)
        if self.settings.criterion == "voi":
            labels = box.read_labels(part)
            truth = _Truth(box, normalisation, part, *NO_SKELETONS, labels) if (labels > 0).any() else None
        else:
            inside, nodes_zyx = _trace(box, part) if skeletons is None else _clip(skeletons, box, part)
            truth = _Truth(box, normalisation, part, inside, nodes_zyx, None) if len(inside.edges) else None
        if truth is None:
            log.warning("%s holds no object to measure %s on: left out", box.name, self.settings.criterion)
        return truth

    def _predict(self, network: nn.Module, truth: _Truth) -> np.ndarray:
        """Return the (3, Z, Y, X) uint8 affinities to the nearest voxels, of sigmoid(0.2 x) as in BANIS."""
        device = next(network.parameters()).device
        grid = WindowGrid(truth.part.shape_zyx, to_triple(self.cfg.patch_zyx_vx), OVERLAP)
        # What a CPU learns rightly in, it may not predict in: its layout of memory is another.
        precision = "auto" if device.type == "cpu" else self.cfg.precision
        shape = (1, truth.box.channels, *grid.window_zyx)
        recipe = Recipe(truth.normalisation.mean, truth.normalisation.std, self.order, "scaled_sigmoid")
        dtype = choose_for_prediction(precision, device, network, shape)
        member = Predictor(network, recipe, device=device, dtype=dtype)
        sliding = SlidingWindow(Ensemble([member]), grid, batch=self.cfg.batch if device.type == "cuda" else 1)
        whole = Box.of_shape(truth.part.shape_zyx)
        hull = grid.hull(whole)
        raw = reflect_pad(truth.box.read_raw(truth.part), whole, hull)
        try:
            return sliding.predict(raw, hull, whole)
        except torch.OutOfMemoryError as error:
            raise ConnectomakeError(
                f"the GPU's memory does not suffice to segment {whole.shape_zyx} voxels of {truth.box.name}",
                hint="make train.validate_segmentation.largest_vx smaller",
            ) from error

    def _measure(self, truth: _Truth, affinities: np.ndarray) -> list[Numbers]:
        """Return the numbers of one volume at each threshold."""
        threads = torch.get_num_threads()
        if truth.labels is not None:
            return [self._compare(truth.labels, affinities, threshold, threads) for threshold in BANIS_THRESHOLDS]
        segments = sweep_thresholds(
            affinities, BANIS_THRESHOLDS, truth.nodes_zyx, edge_offset=self.edge_offset, threads=threads
        )
        return [_along(truth.skeletons, segment) for segment in segments]

    def _compare(self, truth: np.ndarray, affinities: np.ndarray, threshold: float, threads: int) -> Numbers:
        """Decode in full at one threshold, and count voxels."""
        labels = affinity_cc3d(affinities, threshold, edge_offset=self.edge_offset, threads=threads)
        table = contingency_of_arrays(truth, labels, threads=threads)
        return dense_metrics(table, MeasureConfig(voxel_metrics=("voi",)))


def read_skeletons(row: SplitRow, volume: IngestedVolume) -> Skeletons | None:
    """Read the skeletons of a validation box where its volume has some beside its volume.json.

    Parameters
    ----------
    row
        A row of the split.
    volume
        The volume that the box is a part of.

    Returns
    -------
    Skeletons or None
        In nm from the centre of the box's first voxel; those of the whole volume.
    """
    if not volume.skeletons.is_file():
        return None
    origin = position_of(np.array(row.box.start_zyx), volume.voxel_size_zyx_nm, volume.offset_zyx_nm)
    found = load_skeletons(volume.skeletons)
    return Skeletons(found.edges, found.node_skeleton_id, found.node_pos_nm - origin)


def middle_of(shape_zyx: Triple, largest_vx: int) -> Box:
    """Return the box of at most `largest_vx` voxels in the middle of a volume, as near to a cube as it allows.

    Examples
    --------
    >>> middle_of((4, 100, 100), 4 * 20 * 20)
    Box(start_zyx=(0, 40, 40), stop_zyx=(4, 60, 60))
    """
    sides, left = list(shape_zyx), largest_vx
    for axes_left, axis in zip((3, 2, 1), np.argsort(shape_zyx, kind="stable"), strict=True):
        sides[axis] = max(1, min(shape_zyx[axis], int(left ** (1 / axes_left) + 1e-9)))
        left //= sides[axis]
    start = [(whole - side) // 2 for whole, side in zip(shape_zyx, sides, strict=True)]
    return Box.of_shape(sides).shift(start)


def _find_nearest(channels: Sequence[Channel]) -> tuple[Triple, int]:
    """Find the affinities that objects are made of: their channels, and at which end of the edge they stand."""
    names, offsets = zip(*[(channel.name, channel.offset_zyx_vx) for channel in channels], strict=True)
    try:
        return Channels(names, offsets).nearest()
    except DataError as error:
        raise ConfigError(
            "train.validate_segmentation segments by affinities",
            expected="train.targets.affinity with the offsets [1, 0, 0], [0, 1, 0] and [0, 0, 1]",
            got=", ".join(names),
            hint="set train.validate_segmentation: null",
        ) from error


def _trace(box: LabelledBox, part: Box) -> tuple[Skeletons, np.ndarray]:
    """Trace skeletons in a part's labels; give them, in nm from the part's first voxel, and their nodes' voxels."""
    log.info("tracing skeletons in the labels of %s, %s voxels", box.name, part.shape_zyx)
    labels = box.read_labels(part)
    array = FileArray(f"the labels of {box.name}", "memory", labels.shape, labels.dtype, Metadata(), labels.__getitem__)
    whole = Box.of_shape(part.shape_zyx)
    volume = Volume(array, "zyx", whole, box.voxel_size_zyx_nm, (0.0, 0.0, 0.0), has_channels=False)
    found = skeletonize_labels(volume, SkeletonConfig())
    return found, voxel_at(found.node_pos_nm, box.voxel_size_zyx_nm, volume.offset_zyx_nm)


def _clip(skeletons: Skeletons, box: LabelledBox, part: Box) -> tuple[Skeletons, np.ndarray]:
    """Cut skeletons to a part of their box; give them and their nodes' voxels, counted from the part's first."""
    offset_nm = to_triple_nm(np.multiply(part.start_zyx, box.voxel_size_zyx_nm).tolist())
    inside = clip_skeletons(skeletons, part.shape_zyx, box.voxel_size_zyx_nm, offset_nm)
    return inside, voxel_at(inside.node_pos_nm, box.voxel_size_zyx_nm, offset_nm)


def _along(skeletons: Skeletons, segment: np.ndarray) -> Numbers:
    """Measure the segments under the nodes of skeletons."""
    numbers = skeleton_metrics(
        skeletons.edges, skeletons.node_skeleton_id, skeletons.node_pos_nm, segment, ignored_merger_nodes=()
    )
    return {name: numbers[name] for name in ("nerl", "total_length")}
