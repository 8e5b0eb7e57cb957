"""The segmentation score: what a network's predictions come to when they are decoded at the best of 13 thresholds."""

import logging

import numpy as np
import pytest
import torch
from small_volume import write_description
from torch import nn

from connectomake.config.settings.decode_tune import BANIS_THRESHOLDS
from connectomake.config.settings.train import TrainConfig
from connectomake.decode import affinity_cc3d
from connectomake.errors import ConfigError, DataError, ModelError
from connectomake.geometry import Box, voxel_at
from connectomake.measure.contingency import contingency_of_arrays
from connectomake.measure.skeleton_metrics import skeleton_metrics
from connectomake.measure.variation_of_information import variation_of_information
from connectomake.split.table import SplitRow
from connectomake.targets.kinds.affinity import AffinityConfig
from connectomake.train.normalisation import Normalisation
from connectomake.train.segmentation_score import SegmentationScore, middle_of, read_skeletons
from connectomake.train.volumes import LabelledBox
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.skeletons import Skeletons, save_skeletons

SIZE_NM = (40.0, 8.0, 8.0)
PLAIN = Normalisation(0.0, 1.0)


class Oracle(nn.Module):
    """Knows the labels from the grey values: logits of +high inside objects, -high between them, plus some noise."""

    def __init__(self, high=12.0, noise=0.0):
        super().__init__()
        self.layer = nn.Conv3d(1, 4, 3, padding=1)  # weights, for the device and the layout
        self.high, self.noise = high, noise

    def forward(self, raw):
        logits = []
        for axis in (4, 2, 3):  # the channels are x, z, y
            same = (raw == torch.roll(raw, -1, axis)) & (raw > 0)
            logits.append(torch.where(same, self.high, -self.high))
        logits = torch.cat([*logits, logits[0]], 1)
        return logits + self.noise * torch.sin(37.0 * raw + torch.arange(raw[0, 0].numel()).reshape(raw.shape[2:]))


def settings(criterion="nerl", **changes):
    offsets = [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 9]]
    values = {
        "patch_zyx_vx": (16, 32, 32),
        "targets": {"affinity": {"offsets_zyx_vx": offsets}},
        "precision": "float32",
        "validate_segmentation": {"criterion": criterion},
    }
    return TrainConfig.model_validate(values | changes)


def make_box(shape=(20, 48, 40), name="a"):
    """Return a volume of neurites along x, whose grey values are their labels."""
    rows, columns = np.indices(shape[:2]) // np.array([7, 12])[:, None, None]
    labels = np.broadcast_to((1 + rows * 5 + columns)[..., None], shape).copy()
    labels[:, ::12] = 0
    labels[:2, :6] = -1
    return LabelledBox(name, labels[None].astype(np.float32), labels, 1, shape, SIZE_NM, 1.0)


def score_of(boxes, cfg, network, **further):
    return SegmentationScore(boxes, cfg, PLAIN, cfg.targets.channels, **further).score(network)


@pytest.mark.parametrize(("criterion", "best"), [("nerl", 1.0), ("voi", 0.0)])
def test_a_perfect_network_scores_best_at_the_middle_of_the_thresholds(criterion, best):
    found = score_of([make_box(), make_box((16, 40, 56), "b")], settings(criterion), Oracle())
    assert found == {
        f"segmentation_{criterion}": pytest.approx(best),
        "segmentation_threshold": pytest.approx(0.69, abs=0.05),
    }


@pytest.mark.parametrize("criterion", ["nerl", "voi"])
def test_a_network_that_joins_everything_scores_low(criterion):
    class Joins(Oracle):
        def forward(self, raw):
            return super().forward(torch.ones_like(raw))

    found = score_of([make_box()], settings(criterion), Joins())[f"segmentation_{criterion}"]
    assert found == 0 if criterion == "nerl" else found > 2


@pytest.mark.parametrize("criterion", ["nerl", "voi"])
def test_scores_are_those_of_decoding_each_threshold_by_itself(criterion):
    """The slow way: the whole volume in one window, 13 decodes, all of them measured."""
    box, cfg, network = make_box((16, 32, 32)), settings(criterion), Oracle(2.0, 9.0)
    score = SegmentationScore([box], cfg, PLAIN, cfg.targets.channels)
    logits = network(torch.from_numpy(box.raw)[None])[0, [1, 2, 0]].detach()
    affinities = (255 * torch.sigmoid(0.2 * logits)).round().to(torch.uint8).numpy()
    values = []
    for threshold in BANIS_THRESHOLDS:
        labels = affinity_cc3d(affinities, threshold)
        if criterion == "voi":
            table = contingency_of_arrays(box.labels, labels).without_truth(0, -1)
            values.append(-sum(variation_of_information(table)))
        else:
            found = score.truths[0].skeletons
            voxels = voxel_at(found.node_pos_nm, SIZE_NM, (0, 0, 0))
            measured = skeleton_metrics(found.edges, found.node_skeleton_id, found.node_pos_nm, labels[tuple(voxels.T)])
            values.append(measured["nerl"])
    assert len(set(values)) > 2, "the thresholds make no difference"
    given = score.score(network)
    assert abs(given[f"segmentation_{criterion}"]) == pytest.approx(abs(max(values)))
    assert values[BANIS_THRESHOLDS.index(given["segmentation_threshold"])] == pytest.approx(max(values))


def test_the_network_is_left_as_it_was():
    network = Oracle().train()
    network.layer.requires_grad_(True)
    strides = network.layer.weight.stride()
    cfg = settings()
    score = SegmentationScore([make_box()], cfg, PLAIN, cfg.targets.channels)
    assert score.score(network) == score.score(network)
    assert network.training
    assert network.layer.weight.requires_grad
    assert network.layer.weight.stride() == strides


def test_skeletons_of_the_volume_are_shifted_and_cut(tmp_path):
    """A skeleton along x through one neurite, in nm of the volume; the box, and then its middle, hold a part of it."""
    steps, offset_nm = np.arange(100), (1000.0, 2000.0, 3000.0)
    position = np.stack([np.full(100, 14), np.full(100, 40), steps], 1) * SIZE_NM + offset_nm
    edges = np.stack([steps[:-1], steps[1:]], 1)
    row = SplitRow("a", "validate", tmp_path / "volume.json", Box((10, 20, 30), (30, 68, 70)))
    write_description(row.volume_json, {"offset_zyx_nm": offset_nm, "voxel_size_zyx_nm": SIZE_NM})
    volume = IngestedVolume.read(row.volume_json)
    assert read_skeletons(row, volume) is None
    save_skeletons(tmp_path / "skeletons.npz", Skeletons(edges, np.full(100, 7), position))
    cfg = settings(validate_segmentation={"largest_vx": 20 * 24 * 24})
    score = SegmentationScore([make_box()], cfg, PLAIN, cfg.targets.channels, [read_skeletons(row, volume)])
    assert score.truths[0].part == Box((0, 12, 8), (20, 36, 32))
    assert score.truths[0].nodes_zyx.tolist() == [[4, 8, x] for x in range(24)]
    assert score.score(Oracle())["segmentation_nerl"] == pytest.approx(1)


def test_a_volume_without_objects_is_left_out_and_two_are_refused(caplog):
    cfg, empty = settings(), make_box(name="empty")
    empty.labels[:] = 0
    with caplog.at_level(logging.WARNING):
        assert score_of([empty, make_box()], cfg, Oracle())["segmentation_nerl"] == pytest.approx(1)
    assert "empty holds no object to measure nerl on: left out" in caplog.text
    for criterion in ("nerl", "voi"):
        with pytest.raises(DataError, match=f"no validation volume holds an object to measure {criterion} on"):
            score_of([empty], settings(criterion), Oracle())


def test_what_cannot_be_scored_is_refused():
    cfg = settings()
    with pytest.raises(ConfigError, match="needs a volume to validate on"):
        score_of([], cfg, Oracle())
    long_ranges = AffinityConfig(offsets_zyx_vx=((1, 0, 0), (0, 9, 0))).channels
    with pytest.raises(ConfigError, match=r"got affinity z\+1, affinity y\+9"):
        SegmentationScore([make_box()], cfg, PLAIN, long_ranges)
    with pytest.raises(ModelError, match="NaN"):
        score_of([make_box()], cfg, Oracle(float("nan")))


@pytest.mark.parametrize("shape", [(4, 100, 100), (300, 300, 300), (7, 5, 1), (64, 64, 64)])
@pytest.mark.parametrize("largest_vx", [1, 27, 4096, 10**9])
def test_the_middle_is_as_large_as_allowed(shape, largest_vx):
    box = middle_of(shape, largest_vx)
    assert 0 < box.size <= largest_vx
    assert Box.of_shape(shape).contains(box)
    assert all(abs(a - (n - b)) <= 1 for a, b, n in zip(box.start_zyx, box.stop_zyx, shape, strict=True))
    grown = [min(n, side + 1) for n, side in zip(shape, box.shape_zyx, strict=True)]
    assert box.shape_zyx == shape or np.prod(grown) > largest_vx
