"""The page of a prediction: planes across the borders of blocks with ticks outside, and every number that was found."""

from __future__ import annotations

import numpy as np
import pytest
from array_volume import ArrayVolume
from checked_phantom import SHAPE, VOXEL_NM, as_bytes, finish, make_prediction, make_raw

from connectomake.draw.figure import MERGE, save_figure
from connectomake.draw.prediction.figure import draw_prediction, read_views
from connectomake.draw.prediction.panels import draw_seams, group_channels
from connectomake.geometry import Box
from connectomake.predict.check.check_prediction import check_prediction
from connectomake.volumes.affinities import Shown
from connectomake.volumes.region import Region


def draw(prediction, numbers=None):
    numbers = numbers or check_prediction(prediction)
    shown = Shown.of_prediction(prediction.described)
    return draw_prediction(prediction.raw, prediction.volume, shown, numbers, "cells   default")


def texts_of(figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def ticks_of(axes) -> set[tuple[str, float]]:
    """Return the ticks outside of a picture: the axis that they stand on, and the place in nm."""
    found = set()
    for line in axes.lines:
        across, down = line.get_data()
        found |= {("across", across[0])} if across[0] == across[1] else {("down", down[0])}
    return found


@pytest.fixture(scope="module")
def clean():
    return finish(as_bytes(make_prediction()))


@pytest.fixture(scope="module")
def page(clean):
    return draw(clean)


def test_ticks_stand_where_blocks_meet_and_outside_of_the_pictures(page):
    raw_xy, channels_xy, enlarged_xy, raw_xz, *_ = page.axes
    assert ticks_of(raw_xy) == ticks_of(channels_xy) == {("across", 32 * 8), ("down", 32 * 8)}
    assert ticks_of(enlarged_xy) == {("across", 32 * 8), ("down", 32 * 8)}
    assert ticks_of(raw_xz) == {("across", 32 * 8), ("down", 16 * 16), ("down", 32 * 16)}
    page.canvas.draw()
    for axes in page.axes[:6]:
        inside = axes.get_window_extent()
        for line in axes.lines:
            box = line.get_window_extent()
            assert not inside.overlaps(box.padded(-1)), "a tick hides what it points at"


def test_planes_have_their_true_proportions(page):
    page.canvas.draw()
    for axes, ratio in zip(page.axes[:6], [1, 1, 1, 48 * 16 / 512, 48 * 16 / 512, 1], strict=True):
        box = axes.get_window_extent()
        assert box.height / box.width == pytest.approx(ratio, rel=0.01)


def test_the_page_says_what_it_shows_and_that_nothing_is_wrong(page):
    texts = texts_of(page)
    assert texts[0] == "cells   default"
    assert "48 x 64 x 64 voxels (z, y, x) in 12 blocks of 16 x 32 x 32; all of it was looked at" in texts
    assert {"no warnings", "raw", "affinities", "where blocks meet, enlarged"} <= set(texts)
    assert ("z 16" in texts, "y 32" in texts) == (True, True)
    sections, values, seams = page.axes[6:]
    np.testing.assert_allclose(
        sections.lines[0].get_ydata(), as_bytes(make_prediction())[0].mean((1, 2)) / 255, rtol=1e-3
    )
    assert "at 255" in values.get_legend().get_texts()[0].get_text()
    assert [label.get_text()[0] for label in seams.get_yticklabels()] == ["z", "y", "x"]
    assert all(0.8 < bar.get_width() < 1.1 for bar in seams.patches)


def test_warnings_and_bad_sections_are_shown():
    stored = as_bytes(make_prediction())
    stored[:, 20] //= 4
    stored[:, :, :, :32] = np.maximum(stored[:, :, :, :32], 40) - 40
    figure = draw(finish(stored))
    texts = " ".join(texts_of(figure))
    assert "- blocks can be told apart along x" in texts
    assert "- section z 20 is out of line" in texts
    assert "no warnings" not in texts
    sections, _, seams = figure.axes[6:]
    assert [(patch.get_x(), patch.get_width()) for patch in sections.patches] == [(19.5, 1)]
    colours = [MERGE.lower() == to_hex(bar.get_facecolor()) for bar in seams.patches]
    assert colours == [False, False, True]


def test_more_warnings_than_fit_are_counted(clean):
    numbers = check_prediction(clean)
    numbers["warnings"] = [{"kind": "drift", "text": f"warning {k}"} for k in range(8)]
    texts = texts_of(draw(clean, numbers))
    assert [text for text in texts if "warning" in text] == [f"- warning {k}" for k in range(5)]
    assert "and 3 more: see check.json" in texts


def test_one_block_has_no_seams():
    prediction = finish(as_bytes(make_prediction()), block_zyx_vx=[64, 64, 64])
    figure = draw(prediction)
    assert [text.get_text() for text in figure.axes[-1].texts] == ["one block: there are no seams"]
    assert "the middle, enlarged" in texts_of(figure)
    assert all(not axes.lines for axes in figure.axes[:6])


def test_blocks_of_which_no_two_were_predicted_have_no_seams_either(clean):
    numbers = check_prediction(clean)
    for seams in numbers["seams"].values():
        seams |= {"looked_at": 0, "worst": None}
    figure = draw(clean)
    draw_seams(figure.axes[-1], numbers)
    assert figure.axes[-1].texts[-1].get_text() == "no face between blocks was predicted"


def test_a_part_of_the_volume_is_shown_over_the_raw_data_there():
    raw = np.pad(make_raw(), ((10, 2), (8, 8), (4, 12)), mode="reflect")
    start = (10, 8, 4)
    region = Region(Box(start, tuple(a + n for a, n in zip(start, SHAPE, strict=True))))
    prediction = finish(as_bytes(make_prediction()), raw, region)
    prediction.volume.offset_zyx_nm = tuple(a * size for a, size in zip(start, VOXEL_NM, strict=True))
    numbers = check_prediction(prediction)
    assert numbers["warnings"] == []
    shown = Shown.of_prediction(prediction.described)
    xy, xz = read_views(prediction.raw, prediction.volume, shown, numbers["crossing_zyx_vx"])
    assert (xy.plane.index, xz.plane.index) == (26, 40)
    assert xy.plane.box == Box((26, 8, 4), (27, 72, 68))
    expected = as_bytes(make_prediction())[[2, 1, 0], 16]
    np.testing.assert_array_equal(np.moveaxis(xy.channels, -1, 0), expected)
    figure = draw(prediction, numbers)
    assert ticks_of(figure.axes[0]) == {("across", 32 * 8), ("down", 32 * 8)}


def test_of_a_large_volume_only_two_planes_near_the_middle_are_read():
    shape = (8, 1500, 2400)
    flat = ArrayVolume(np.zeros((1, *shape), np.uint8), VOXEL_NM)
    raw = ArrayVolume(np.zeros(shape, np.uint8), VOXEL_NM)
    read_views(raw, flat, Shown("membrane", (0,)), (4, 700, 1200))
    assert max(raw.reads + flat.reads) == 1024 * 1024
    assert flat.boxes[0] == Box((4, 188, 688), (5, 1212, 1712))


@pytest.mark.parametrize("count", [1, 2, 14])
def test_maps_of_any_number_and_type_are_drawn(count, tmp_path):
    values = np.resize(make_prediction(), (count, *SHAPE)).astype(np.float16)
    names = [f"class {c}" for c in range(count)]
    prediction = finish(values, channels=names, offsets_zyx_vx=[None] * count, activations=["softmax"] * count)
    figure = draw(prediction)
    assert ", ".join(names[:3]) in texts_of(figure)
    assert len(figure.axes[6].get_legend().get_texts()) == min(8, count)
    save_figure(figure, tmp_path / "check.png")
    assert (tmp_path / "check.png").stat().st_size > 20_000


def test_many_affinities_are_grouped_by_their_reach():
    steps = [1, 1, 1, 4, 4, 4, 9, 9, 9]
    channels = [{"name": str(k), "offset_zyx_vx": [step, 0, 0]} for k, step in enumerate(steps)]
    channels += [{"name": "membrane", "offset_zyx_vx": None}]
    groups = group_channels(channels)
    assert groups == {
        "affinities to the next voxel": [0, 1, 2],
        "affinities farther away": [3, 4, 5, 6, 7, 8],
        "membrane": [9],
    }
    assert list(group_channels(channels[:8])) == [str(k) for k in range(8)]


def to_hex(colour) -> str:
    from matplotlib.colors import to_hex

    return to_hex(colour)
