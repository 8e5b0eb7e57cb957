"""Pictures and page of a generator: what they show, and that nothing overlaps."""

from html.parser import HTMLParser

import numpy as np
import pytest
from small_synthesis import CLASSES, make_rows, make_samples, write_course, write_samples

from connectomake.draw.synthesis.figure import draw_generated, draw_reconstructions, read_samples
from connectomake.draw.synthesis.page import write_synthesis_page
from connectomake.draw.synthesis.training import draw_trainings
from connectomake.errors import DataError, MissingDataError


def texts_of(figure):
    return [text.get_text() for text in figure.texts]


def overlaps(boxes):
    return [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b) and a.width and b.width]


def frames_of(figure):
    return [axes.get_position() for axes in figure.axes]


@pytest.mark.parametrize("labels", [True, False])
def test_real_volumes_stand_left_of_generated_ones(labels):
    samples = make_samples(labels, counts=(2, 3))
    figure = draw_generated(samples, make_rows(), "title")
    rows = 3 if labels else 2
    assert len(figure.axes) == len(CLASSES) * rows * 5
    first = [axes.images[0].get_array() for axes in figure.axes[:5]]
    wanted = [*samples["0/real/z"], *samples["0/made/z"]]
    assert all(np.array_equal(shown, image) for shown, image in zip(first, wanted, strict=True))
    lefts = [axes.get_position().x0 for axes in figure.axes[:5]]
    assert lefts == sorted(lefts)
    assert not overlaps(frames_of(figure))
    assert [t for t in texts_of(figure) if t in CLASSES] == list(CLASSES)
    said = "32 x 32 x 32 voxels,  Frechet distance 5.25 (real 4.5),  MMD -0.0123 (real 4.5)"
    assert texts_of(figure).count(said) == 2


def test_volumes_of_several_shapes_and_thick_sections_keep_their_proportions():
    shapes = ((16, 32, 32), (32, 32, 32))
    samples = make_samples(labels=False, shapes=shapes, counts=(0, 1), voxel_size=(40, 8, 8))
    figure = draw_generated(samples, make_rows(["16x32x32", "32x32x32"]), "title")
    assert len(figure.axes) == 8
    for axes, tall in zip(figure.axes, (1, 2.5, 1, 5) * 2, strict=True):
        frame = axes.get_window_extent()
        assert frame.height / frame.width == pytest.approx(tall, rel=1e-3)


def test_errors_are_shown_on_one_scale_with_marks_where_patches_meet():
    samples = make_samples(labels=False)
    figure = draw_reconstructions(samples, "title")
    bars, pictures = [figure.axes[k] for k in (0, 11)], [a for k, a in enumerate(figure.axes) if k not in (0, 11)]
    assert len(pictures) == 2 * 2 * 5
    error1, error2 = (axes.images[0].get_array().astype(int).sum(-1) for axes in pictures[3:5])
    both = [samples[f"0/reconstruction/{stage}/z"] for stage in ("real", "stage1", "stage2")]
    assert error1.mean() > 1.4 * error2.mean()
    assert np.abs(both[1] - both[0]).argmax() in np.flatnonzero(error1 == error1.max())
    assert 0.3 < bars[0].get_ylim()[1] < 1
    assert len(pictures[3].collections) == 2
    assert not pictures[0].collections
    assert pictures[3].collections[0].get_segments()[0][0][1] == 16 * 4
    assert {"stage 1, 19.1 dB", "stage 2, 22.1 dB", "error 1, seam ratio 1.30"} <= set(texts_of(figure))
    assert not overlaps(frames_of(figure))


def test_a_perfect_reconstruction_can_be_drawn():
    samples = make_samples(labels=False)
    for name in [name for name in samples if "stage" in name]:
        samples[name] = samples[name.replace("stage1", "real").replace("stage2", "real")]
    for known in samples["about"]["reconstructions"]:
        known["scores"]["stage2"] |= {"psnr_db": np.inf, "seam_ratio": np.nan}
    figure = draw_reconstructions(samples, "title")
    assert "stage 2, inf dB" in texts_of(figure)
    assert figure.axes[4].images[0].get_array().max() < 10


def test_trainings_are_drawn_with_a_panel_for_each_score(tmp_path):
    names = ("stage1", "stage2", "diffusion")
    for name in names:
        write_course(tmp_path / f"{name}.csv", name, steps=50)
    figure = draw_trainings({name: tmp_path / f"{name}.csv" for name in names})
    assert len(figure.axes) == 8 + 8 + 1
    assert [axes.get_yscale() for axes in figure.axes].count("log") == 3
    told = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert told == ["loss", "l1", "l1, held out", "perceptual", "commitment", "features"]
    titles = [axes.get_title(loc="left") for axes in figure.axes[1:8]]
    assert titles == [
        "adversarial",
        "discriminator",
        "perplexity",
        "PSNR (dB)",
        "SSIM",
        "seam ratio",
        "share of codes used",
    ]
    figure.canvas.draw()
    assert not overlaps([axes.get_tightbbox() for axes in figure.axes])
    assert "50 steps, 0.1 min" in texts_of(figure)


@pytest.mark.parametrize(("last", "panels"), [("0.5", 0), ("-0.5", 1)])
def test_a_loss_below_zero_has_a_panel_of_its_own(tmp_path, last, panels):
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,train_loss,train_l1,train_features\n0,1,0.4,0\n1,{last},0.3,0\n")
    figure = draw_trainings({"stage 1": path})
    figure.canvas.draw()
    assert [axes.get_title(loc="left") for axes in figure.axes[1:]] == ["loss"] * panels


class Cells(HTMLParser):
    """Collects the cells of each row of a page."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.open = [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.open = tag in ("td", "th")

    def handle_data(self, data):
        if self.open:
            self.rows[-1][-1] += data.strip()


def test_the_page_tells_all_numbers(tmp_path):
    rows = make_rows()
    rows[0]["value"] = None
    cells = Cells(write_synthesis_page({"rows": rows}, "a <title>")).rows
    assert ["all", "all", "PSNR (dB)", "", "1.235", "8", "higher is better"] in cells
    assert ["all", "all", "share of codes used", "", "0.51", "8", "higher is better"] in cells
    features = "FD-AE, 32 features"
    wanted = ["thin", "32x32x32", "MMD², Gaussian kernel", "-0.0123", "4.5", "4", "4", features, "lower is better"]
    assert wanted in cells
    assert len(cells) == 2 + 3 * 3 + 1 + 2 * 4
    assert "<title>a &lt;title&gt;</title>" in write_synthesis_page({"rows": rows}, "a <title>")


def test_what_holds_no_samples_or_curves_is_refused(tmp_path):
    write_samples(tmp_path / "samples.npz", make_samples(labels=False))
    assert [g["class"] for g in read_samples(tmp_path / "samples.npz")["about"]["groups"]] == list(CLASSES)
    with pytest.raises(MissingDataError, match="run generation_metrics"):
        read_samples(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="holds no samples"):
        read_samples(tmp_path / "other.npz")
    (tmp_path / "metrics.csv").write_text("epoch,accuracy\n0,1\n")
    with pytest.raises(DataError, match="no training curve"):
        draw_trainings({"stage 1": tmp_path / "metrics.csv"})
