"""Every decoder gives back the objects that perfect maps were made of: a variation of information of 0."""

from importlib.util import find_spec

import cc3d
import edt
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from connectomake.channels import NEAREST, name_offset
from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.train_targets import TargetsConfig
from connectomake.decode import decode, split_panoptic
from connectomake.decode.channels import Channels, to_destination
from connectomake.geometry import Box
from connectomake.measure.contingency import Contingency, count_pairs
from connectomake.measure.variation_of_information import variation_of_information
from connectomake.targets.affinity import affinities_of_labels
from connectomake.targets.registry import Targets

LONG = (*NEAREST, (3, 0, 0), (0, 4, 0), (0, 0, 4), (0, -2, 3))
SHAPE_ZYX = (14, 18, 22)

needs_mwatershed = pytest.mark.skipif(find_spec("mwatershed") is None, reason="mwatershed is not installed")
needs_waterz = pytest.mark.skipif(find_spec("waterz") is None, reason="waterz is not installed")

seeds = st.integers(0, 2**32 - 1)
types = st.sampled_from([bool, np.uint8, np.float16, np.float32])
conventions = st.sampled_from([0, 1])
few = settings(deadline=None, max_examples=20)


def make_cells(seed, gap):
    """Return labels of cells that touch (gap 0), or have background between them, in connected parts of 2 voxels on."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE_ZYX), indexing="ij"), -1)
    distance, nearest = cKDTree(rng.random((12, 3)) * SHAPE_ZYX).query(grid, k=2)
    cells = np.where(distance[..., 1] - distance[..., 0] < gap, 0, nearest[..., 0] + 1).astype(np.uint32)
    return cc3d.dust(cc3d.connected_components(cells, connectivity=6), threshold=2, connectivity=6)


def make_boxes(seed):
    """Return labels of boxes like bricks, that share faces but no edges, with background in the first one's place."""
    rng = np.random.default_rng(seed)
    columns = [[_cut(rng) for _ in range(3)] for _ in range(3)]
    planes = [_cut(rng) for _ in range(3)]
    labels = np.zeros((len(z_of := _cut(rng)), 15, 15), np.uint32)
    for z, slab in enumerate(z_of):
        for y, row in enumerate(planes[slab]):
            labels[z, y] = slab * 9 + row * 3 + columns[slab][row]
    return labels


def _cut(rng):
    """Cut 15 voxels into three pieces of 4 or more; give the piece of each voxel."""
    return np.repeat(np.arange(3), 4 + rng.permutation([0, 1, 2]))


def make_affinities(labels, offsets, edge_offset, dtype):
    values, _ = affinities_of_labels(labels.astype(np.int64), offsets)
    values = np.maximum(values, 0)
    values = to_destination(values, offsets) if edge_offset else values
    maps = (255 * values).astype(np.uint8) if dtype == np.uint8 else values.astype(dtype)
    return maps, Channels(tuple(map(name_offset, offsets)), offsets, edge_offset)


def make_maps(labels, dtype):
    """Return foreground, contours (both sides) and distances to the contour's outer side, 0 to 1."""
    ids = [label for label in np.unique(labels) if label]
    inside = np.any([binary_erosion(labels == label, np.ones((3, 3, 3)), border_value=1) for label in ids], axis=0)
    distance = edt.edt(labels)
    maps = np.stack([labels > 0, (labels > 0) & ~inside, distance / distance.max()])
    maps = np.rint(255 * maps) if dtype == np.uint8 else maps
    return maps.astype(dtype), Channels(("binary", "contour", "distance"), (None,) * 3)


def voi(labels, found):
    """Return the variation of information with the background as an object: that has to come back too."""
    table = Contingency(*count_pairs(labels.ravel(), found.ravel()))
    return sum(variation_of_information(table))


@few
@given(seeds, st.sampled_from([0, 1.5]), conventions, types)
def test_affinity_cc(seed, gap, edge_offset, dtype):
    labels = make_cells(seed, gap)
    maps, channels = make_affinities(labels, NEAREST, edge_offset, dtype)
    assert voi(labels, decode(maps, DecodeConfig(), channels=channels)) == 0


@needs_mwatershed
@few
@given(seeds, st.sampled_from([0, 1.5]), conventions, types)
def test_mutex_watershed(seed, gap, edge_offset, dtype):
    labels = make_cells(seed, gap)
    maps, channels = make_affinities(labels, LONG, edge_offset, dtype)
    assert voi(labels, decode(maps, DecodeConfig(decoder="mutex_watershed"), channels=channels)) == 0


@needs_waterz
@few
@given(seeds, st.sampled_from([0, 1.5]), conventions, types, st.sampled_from(["aff50_his256", "mean"]))
def test_waterz(seed, gap, edge_offset, dtype, merge_function):
    labels = make_cells(seed, gap)
    maps, channels = make_affinities(labels, NEAREST, edge_offset, dtype)
    cfg = DecodeConfig(decoder="waterz", waterz={"merge_function": merge_function})
    assert voi(labels, decode(maps, cfg, channels=channels)) == 0


@few
@given(seeds, st.sampled_from([np.uint8, np.float16, np.float32]), st.sampled_from(["binary_contour", "distance"]))
def test_seeded_watershed_of_boxes_that_touch(seed, dtype, last):
    labels = make_boxes(seed)
    maps, channels = make_maps(labels, dtype)
    # the distance of a voxel of the contour is 1 or less; a box 4 voxels wide has its inside at 2
    step = float(maps[2].max()) / (255 if dtype == np.uint8 else 1) / edt.edt(labels).max()
    own = {"method": "binary_contour", "min_seed_vx": 1}
    if last == "distance":
        own = {"method": "binary_contour_distance", "seed_distance": 1.5 * step, "min_seed_vx": 1}
    cfg = DecodeConfig(decoder="seeded_watershed", seeded_watershed=own)
    assert voi(labels, decode(maps, cfg, channels=channels)) == 0


@few
@given(seeds, types)
def test_seeded_watershed_of_foreground_alone(seed, dtype):
    labels = make_cells(seed, 2.5)
    maps, channels = make_maps(labels, np.uint8)
    maps = maps if dtype == np.uint8 else (maps / 255).astype(dtype)
    cfg = DecodeConfig(decoder="seeded_watershed", seeded_watershed={"method": "binary", "min_seed_vx": 1})
    joined = cc3d.connected_components(labels > 0, connectivity=6)  # what no foreground could tell apart
    assert voi(joined, decode(maps, cfg, channels=channels)) == 0


@few
@given(seeds, types, st.sampled_from(["argmax", "threshold"]), st.booleans())
def test_semantic(seed, dtype, method, with_instances):
    labels = make_cells(seed, 1.5)
    classes = np.where(labels > 0, labels % 3 + 1, 0)
    maps = np.stack([classes == number for number in (1, 2, 3)]) * (255 if dtype == np.uint8 else 1)
    names = ("cell", "mito", "er")
    own = {"method": method, "instances": names if with_instances else ()}
    found = decode(
        maps.astype(dtype), DecodeConfig(decoder="semantic", semantic=own), channels=Channels(names, (None,) * 3)
    )
    if with_instances:
        parts = cc3d.connected_components(classes.astype(np.uint32), connectivity=6)
        assert voi(parts, found) == 0
        found = split_panoptic(found)[0]
    np.testing.assert_array_equal(found, classes)


def make_target_maps(labels, sections, dtype):
    """Return what a perfect network would: the targets of a whole volume, all of it known, with their channels."""
    size_nm = (8.0, 8.0, 8.0)
    cfg = TargetsConfig.model_validate({"affinity": None} | sections)
    targets = Targets(cfg, size_nm)
    before, after = targets.context
    around = np.pad(labels.astype(np.int64), list(zip(before, after, strict=True)))  # background, known
    values, mask = targets.make(around, Box(before, np.add(before, labels.shape)))
    assert mask.all()
    names, kinds = [c.name for c in targets.channels], [c.activation for c in targets.channels]
    channels = Channels(tuple(names), tuple(c.offset_zyx_vx for c in targets.channels), 0, tuple(kinds))
    if dtype == np.uint8:
        signed = np.array([kind == "tanh" for kind in kinds])[:, None, None, None]
        values = np.rint(np.where(signed, 127.5 * (values + 1), 255.0 * values))
    return values.astype(dtype), channels


stored = st.sampled_from([np.uint8, np.float16, np.float32])


@few
@given(seeds, st.sampled_from([0, 1.5]), stored, st.sampled_from(["affinity_cc", "mutex_watershed", "waterz"]))
def test_affinity_target(seed, gap, dtype, decoder):
    if decoder != "affinity_cc":
        pytest.importorskip({"mutex_watershed": "mwatershed"}.get(decoder, decoder))
    labels = make_cells(seed, gap)
    maps, channels = make_target_maps(labels, {"affinity": {"offsets_zyx_vx": LONG}}, dtype)
    assert voi(labels, decode(maps, DecodeConfig(decoder=decoder), channels=channels)) == 0


@few
@given(seeds, stored, st.sampled_from(["instance", "signed", "semantic", "contour"]))
def test_binary_contour_and_distance_targets(seed, dtype, kind):
    """Bricks that touch, by the borders between them; `semantic` knows none, and tells apart what does not touch."""
    labels = make_boxes(seed)
    sections = {"binary": {}, "contour": {}}
    own = {"method": "binary_contour", "min_seed_vx": 1}
    if kind != "contour":
        # a voxel of the contour is 8 nm deep, the one behind it 16; of bricks 4 to 6 voxels wide 24 is the deepest
        depth = {"instance": 0.55, "signed": np.tanh(0.75), "semantic": 0.1}[kind]
        sections["distance"] = {"kind": kind} | ({} if kind == "instance" else {"scale_inside_nm": 16})
        own = {"method": "binary_contour_distance", "seed_distance": depth, "min_seed_vx": 1}
    if kind == "semantic":
        labels = np.where(labels % 2, labels, 0)
    maps, channels = make_target_maps(labels, sections, dtype)
    cfg = DecodeConfig(decoder="seeded_watershed", seeded_watershed=own)
    assert voi(labels, decode(maps, cfg, channels=channels)) == 0


@few
@given(seeds, stored, st.booleans())
def test_classes_target(seed, dtype, exclusive):
    labels = make_cells(seed, 1.5)
    names = ("cell", "mito", "er")
    classes = {"labels": {name: tuple(range(1 + n, 99, 4)) for n, name in enumerate(names)}, "exclusive": exclusive}
    maps, channels = make_target_maps(labels, {"classes": classes}, dtype)
    found = decode(maps, DecodeConfig(decoder="semantic"), channels=channels)
    np.testing.assert_array_equal(found, np.select([labels % 4 == n for n in (1, 2, 3)], (1, 2, 3), 0))


def middles_touch(parts, flows):
    """Return whether the middles of two parts are neighbours: the one thing that flows do not tell apart."""
    middles = np.argwhere((parts > 0) & ~flows.any(axis=0))
    pairs = cKDTree(middles).query_pairs(1, p=np.inf, output_type="ndarray")
    of_middle = parts[tuple(middles.T)]
    return bool((of_middle[pairs[:, 0]] != of_middle[pairs[:, 1]]).any())


@few
@given(seeds, st.sampled_from([0, 1.5]), stored)
def test_flow_target(seed, gap, dtype):
    labels = make_cells(seed, gap)
    assume(not middles_touch(labels, make_target_maps(labels, {"flow": {}}, np.float32)[0]))
    maps, channels = make_target_maps(labels, {"binary": {}, "flow": {}}, dtype)
    cfg = DecodeConfig(decoder="flow", flow={"gather_vx": 1})
    assert voi(labels, decode(maps, cfg, channels=channels)) == 0


@few
@given(seeds, stored)
def test_flow_target_within_sections(seed, dtype):
    """Section by section; across sections objects are joined by how much they overlap, which is no inverse."""
    labels = make_cells(seed, 0)
    maps, channels = make_target_maps(labels, {"binary": {}, "flow": {"planes": "2d"}}, dtype)
    flows, _ = make_target_maps(labels, {"flow": {"planes": "2d"}}, np.float32)
    cfg = DecodeConfig(decoder="flow", flow={"gather_vx": 1, "stitch_iou": 1})
    alike = []
    for z, found in enumerate(decode(maps, cfg, channels=channels)):
        parts = cc3d.connected_components(labels[z], connectivity=4)
        if not middles_touch(parts[None], flows[:, z : z + 1]):
            alike.append(voi(parts, found) == 0)
    assert all(alike)
    assert len(alike) >= len(labels) / 2


def test_flow_target_within_sections_of_upright_objects():
    labels = np.repeat(make_cells(5, 0)[6:7], 9, axis=0)
    labels = cc3d.connected_components(labels, connectivity=6)
    labels[4] = np.where(labels[4] == labels[4].max(), 0, labels[4])
    labels = cc3d.connected_components(labels, connectivity=6)
    maps, channels = make_target_maps(labels, {"binary": {}, "flow": {"planes": "2d"}}, np.float32)
    assert voi(labels, decode(maps, DecodeConfig(decoder="flow", flow={"gather_vx": 1}), channels=channels)) == 0
