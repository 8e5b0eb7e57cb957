"""The phantom's promises: exact truth, dense packing, one seed one volume, and an image that shows the truth."""

from __future__ import annotations

from pathlib import Path

import cc3d
import numpy as np
import pytest
import yaml

from connectomake.config.engine.layers import read_preset
from connectomake.config.settings.phantom import DefectConfig, PhantomConfig
from connectomake.errors import DataError
from connectomake.measure.skeleton_metrics import skeleton_metrics
from connectomake.phantom.defects import move, spoil_sections
from connectomake.phantom.neurites import grow_neurites
from connectomake.phantom.phantom import Phantom, _Canvas, _remove_fragments, make_phantom, write_phantom
from connectomake.volumes.skeletons import load_skeletons
from connectomake.volumes.store import read_attributes
from connectomake.volumes.volume import open_volume

PRESETS = sorted((Path(__file__).parents[2] / "config" / "phantom").glob("*.yaml"))


def preset(name: str, shape_zyx: tuple[int, int, int]) -> PhantomConfig:
    """Read a preset at a size that a test can afford."""
    settings = yaml.safe_load(next(path for path in PRESETS if path.stem == name).read_text())
    settings["shape_zyx"] = shape_zyx
    return PhantomConfig(**settings)


CASES = {
    "tiny": (preset("tiny", (32, 32, 32)), 0),
    "demo": (preset("demo", (64, 72, 80)), 1),
    "default": (preset("default", (96, 96, 96)), 2),
    "anisotropic": (preset("anisotropic", (24, 128, 128)), 3),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[PhantomConfig, Phantom]:
    cfg, seed = CASES[request.param]
    return cfg, make_phantom(cfg, seed)


@pytest.fixture(scope="module")
def plain() -> Phantom:
    return make_phantom(*CASES["default"])


def test_types_and_shapes(case: tuple[PhantomConfig, Phantom]) -> None:
    cfg, phantom = case
    assert phantom.raw.shape == phantom.labels.shape == phantom.organelles.shape == cfg.shape_zyx
    assert (phantom.raw.dtype, phantom.labels.dtype, phantom.organelles.dtype) == (np.uint8, np.uint32, np.uint8)
    assert phantom.skeletons.edges.dtype == np.int64


def test_each_id_is_one_6_connected_component_so_perfect_affinities_decode_to_the_labels(
    case: tuple[PhantomConfig, Phantom],
) -> None:
    _, phantom = case
    ids = np.unique(phantom.labels[phantom.labels > 0])
    assert ids.tolist() == list(range(1, len(ids) + 1))
    assert len(ids) > 5
    assert cc3d.connected_components(phantom.labels, connectivity=6, return_N=True)[1] == len(ids)


def test_every_voxel_along_every_edge_has_the_skeletons_label(case: tuple[PhantomConfig, Phantom]) -> None:
    cfg, phantom = case
    tree = phantom.skeletons
    ends = tree.node_pos_nm[tree.edges] / np.array(cfg.voxel_size_zyx_nm)
    for t in np.linspace(0, 1, 41):
        z, y, x = np.rint(ends[:, 0] * (1 - t) + ends[:, 1] * t).astype(int).T
        np.testing.assert_array_equal(phantom.labels[z, y, x], tree.node_skeleton_id[tree.edges[:, 0]])


def test_each_skeleton_is_one_tree(case: tuple[PhantomConfig, Phantom]) -> None:
    _, phantom = case
    tree = phantom.skeletons
    count = len(tree.node_skeleton_id)
    assert len(np.unique(tree.node_skeleton_id)) == phantom.labels.max()
    assert len(tree.edges) == count - phantom.labels.max()
    np.testing.assert_array_equal(*tree.node_skeleton_id[tree.edges].T)
    root = np.arange(count)  # every node reaches one root: with n - 1 edges there is no cycle
    for parent, child in tree.edges:
        root[child] = root[parent]
    assert len(np.unique(root)) == phantom.labels.max()


def test_neurites_fill_the_volume_and_many_cross_it() -> None:
    cfg = preset("default", (128, 128, 128))
    phantom = make_phantom(cfg, 5)
    assert (phantom.labels > 0).mean() > 0.99
    position, label = phantom.skeletons.node_pos_nm, phantom.skeletons.node_skeleton_id
    faces = (position < 1.0) | (position > 127 * 8 - 1.0)
    leaves = np.bincount(label, faces.any(axis=1))
    assert (leaves[1:] >= 2).mean() > 0.3
    largest = np.bincount(phantom.labels.ravel()).max() / phantom.labels.size
    assert largest < 0.35


@pytest.mark.parametrize("name", ["tiny", "anisotropic"])
def test_same_seed_same_volume_on_any_number_of_threads(name: str) -> None:
    cfg, seed = CASES[name]
    one, many, other = make_phantom(cfg, seed), make_phantom(cfg, seed, threads=4), make_phantom(cfg, seed + 1)
    for field in ("raw", "labels", "organelles"):
        np.testing.assert_array_equal(getattr(one, field), getattr(many, field))
    np.testing.assert_array_equal(one.skeletons.node_pos_nm, many.skeletons.node_pos_nm)
    assert (one.raw != other.raw).mean() > 0.5
    assert one.skeletons.node_pos_nm.shape != other.skeletons.node_pos_nm.shape


def borders(labels: np.ndarray) -> np.ndarray:
    """Mark voxels that touch another neurite."""
    found = np.zeros(labels.shape, bool)
    for axis in range(3):
        a, b, differ = (np.swapaxes(v, 0, axis) for v in (found, found, labels))
        edge = differ[1:] != differ[:-1]
        a[1:] |= edge
        b[:-1] |= edge
    return found


def test_membranes_are_darker_than_cytoplasm(plain: Phantom) -> None:
    border = borders(plain.labels)
    cytoplasm = ~border & (plain.organelles == 0)
    assert np.median(plain.raw[border]) < np.median(plain.raw[cytoplasm]) - 40


def test_no_threshold_on_grey_values_finds_the_neurites() -> None:
    cfg = preset("demo", (96, 96, 96))
    phantom = make_phantom(cfg, 1)
    tree, place = phantom.skeletons, tuple(np.rint(phantom.skeletons.node_pos_nm / 8).astype(int).T)

    def nerl(labels: np.ndarray) -> float:
        return skeleton_metrics(tree.edges, tree.node_skeleton_id, tree.node_pos_nm, labels[place])["nerl"]

    assert nerl(phantom.labels) == pytest.approx(1)
    assert max(nerl(cc3d.connected_components(phantom.raw > cut, connectivity=6)) for cut in range(80, 160, 5)) < 0.65


def test_organelles_lie_inside_neurites_and_look_like_organelles(plain: Phantom) -> None:
    mitochondrion, vesicle = plain.organelles == 1, plain.organelles == 2
    assert 0.01 < mitochondrion.mean() < 0.2
    assert 0.0005 < vesicle.mean() < 0.05
    assert not (mitochondrion | vesicle)[borders(plain.labels)].any()
    cytoplasm = ~borders(plain.labels) & (plain.organelles == 0)
    assert np.median(plain.raw[mitochondrion]) < np.median(plain.raw[cytoplasm]) - 30


def test_neurites_are_round_in_nm_whatever_the_voxels_are() -> None:
    cfg, seed = CASES["anisotropic"]
    neurites = grow_neurites(cfg, seed)
    step = np.diff(neurites.position_nm[neurites.edges], axis=1)[:, 0]
    share = (step**2).sum(axis=0) / (step**2).sum()
    assert share.min() > 0.15
    assert neurites.position_nm.max(axis=0) == pytest.approx(
        (np.array(cfg.shape_zyx) - 1) * cfg.voxel_size_zyx_nm, abs=40
    )


def test_a_cut_off_voxel_becomes_membrane() -> None:
    cfg, seed = CASES["tiny"]
    neurites = grow_neurites(cfg, seed)
    labels = make_phantom(cfg, seed).labels
    far = np.argwhere(labels == 1)[-1]
    stranger = tuple(np.argwhere((labels != 1) & (np.indices(labels.shape).sum(axis=0) < far.sum() - 20))[0])
    spoilt = labels.copy()
    spoilt[stranger] = 1
    arrays = [np.full(labels.shape, 7, np.uint8) for _ in range(3)]
    _remove_fragments(_Canvas(spoilt, *arrays), neurites, cfg)
    assert spoilt[stranger] == 0
    assert [int(array[stranger]) for array in arrays] == [255, 0, 0]
    assert (spoilt != labels).sum() == 1


def test_defects_change_the_image_only() -> None:
    cfg, seed = CASES["default"]
    whole = make_phantom(cfg, seed)
    spoilt = cfg.model_copy(
        update={"defects": DefectConfig(missing=0.1, dark=0.1, stripes=0.3, shift_vx=2, brightness_jitter=5)}
    )
    damaged = make_phantom(spoilt, seed)
    np.testing.assert_array_equal(whole.labels, damaged.labels)
    np.testing.assert_array_equal(whole.organelles, damaged.organelles)
    assert (whole.raw != damaged.raw).any(axis=(1, 2)).mean() > 0.8
    assert whole.raw.min() > 0


def test_missing_sections_are_black_and_the_others_are_not() -> None:
    raw = np.full((200, 8, 8), 100, np.uint8)
    spoil_sections(raw, DefectConfig(missing=0.2), 0)
    black = (raw == 0).all(axis=(1, 2))
    assert 0.1 < black.mean() < 0.3
    assert (raw[~black] == 100).all()


def test_a_section_is_moved_and_its_edge_repeated() -> None:
    section = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(move(section, np.array([1, 0])), section[[0, 0, 1]])
    np.testing.assert_array_equal(move(section, np.array([0, -2])), section[:, [2, 3, 3, 3]])


def test_stores_hold_what_was_made(tmp_path: Path) -> None:
    cfg, seed = CASES["tiny"]
    phantom = make_phantom(cfg, seed)
    paths = {name: tmp_path / f"{name}.zarr" for name in ("raw", "labels", "organelles")}
    write_phantom(phantom, **paths, skeletons=tmp_path / "skeletons.npz", attributes={"seed": seed})
    for name, path in paths.items():
        volume = open_volume(path)
        np.testing.assert_array_equal(volume.read(), getattr(phantom, name))
        assert volume.voxel_size_zyx_nm == cfg.voxel_size_zyx_nm
        assert read_attributes(path)["seed"] == seed
    assert read_attributes(paths["organelles"])["classes"] == {"none": 0, "mitochondrion": 1, "vesicle": 2}
    np.testing.assert_array_equal(load_skeletons(tmp_path / "skeletons.npz").edges, phantom.skeletons.edges)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_valid(path: Path) -> None:
    assert PhantomConfig(**read_preset(path)).shape_zyx


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"voxel_size_zyx_nm": (60, 8, 8)}, "smallest radius must exceed"),
        ({"neurites": {"radius_range_nm": (20, 300)}}, "smallest radius must exceed"),
        ({"neurites": {"radius_nm": 400}}, "outside radius_range_nm"),
        ({"shape_zyx": (8, 64, 64)}, "at least 4 of the smallest radii"),
        ({"organelles": {"vesicle_count": (60, 15)}}, "smallest, largest"),
    ],
)
def test_impossible_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhantomConfig(**change)


def test_a_volume_without_room_for_a_neurite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectomake.phantom.neurites._fill", lambda *_: 0)
    with pytest.raises(DataError, match="no neurite fits"):
        grow_neurites(CASES["tiny"][0], 0)
