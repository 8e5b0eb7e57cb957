"""Generators of volumes: their settings, what is refused before anything runs, and how their volumes become data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectomake.config.engine.fill_generated import generated_shape, list_volumes
from connectomake.config.engine.variant import Variant
from connectomake.config.engine.variants import index_variants, load_run, load_synthesis
from connectomake.config.settings.synth import SynthConfig
from connectomake.config.stages import STAGES
from connectomake.errors import ConfigError

SMALL = "autoencoder: {ratio_zyx: [4, 4, 4], patch_zyx_vx: [16, 16, 16]}\nexamples: {shapes_zyx_vx: [[32, 32, 32]]}\n"
MADE = "data: two\nsynth: labelled\n"
FILES = {
    "data/two.yaml": "volumes:\n  thin: {phantom: default, role: train}\n"
    "  thick: {phantom: default, role: test, seed: 1}\n",
    "data/mixed.yaml": "base: two\nvolumes: {thin: {source: real}}\nsynthetic: {generator: made}\n"
    "mix: {real: 1, synthetic: 1}\n",
    "data/bare.yaml": "volumes:\n  one: {raw: a.h5::raw, role: train}\n",
    "data/untrained.yaml": "volumes:\n  one: {raw: a.h5::raw, labels: a.h5::labels, role: predict}\n",
    "data/files.yaml": "collection: {path: scans}\n",
    "train/default.yaml": "patch_zyx_vx: [32, 32, 32]\n",
    "synth/small.yaml": SMALL,
    "synth/labelled.yaml": "base: small\nlabels: {kind: conditional}\ngenerate: {volumes: 2}\n",
    "synth/drawn.yaml": "base: labelled\nlabels: {given: phantom}\n",
    "synth/sorted.yaml": "base: labelled\nexamples: {classes: {b: [thin], a: [thi*]}}\n",
    "experiments/made.yaml": MADE,
    "experiments/plain.yaml": "data: two\nsynth: small\n",
    "experiments/several.yaml": f"{MADE}sweep: {{synth.generate.steps: [10, 20]}}\n",
    "experiments/segmented.yaml": "data: two\n",
    "experiments/round.yaml": "data: round\nsynth: labelled\n",
    "data/round.yaml": "base: two\nsynthetic: {generator: round}\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a project with empty default presets and the files above."""
    for name, text in ({f"{stage}/default.yaml": "" for stage in STAGES} | FILES).items():
        path = tmp_path / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


Load = Callable[..., list[Variant]]
Refuse = Callable[..., str]


@pytest.fixture
def load(root: Path) -> Load:
    """Return a function that loads an experiment: inline keys, or a name."""

    def load_one(experiments: Any = None, override: Any = None, **inline: Any) -> list[Variant]:
        named = {"mine": {"data": "two", **inline}} if experiments is None else experiments
        return load_run({"experiments": named, "override": override}, root)

    return load_one


@pytest.fixture
def refuse(load: Load) -> Refuse:
    """Return a function that loads what cannot be loaded, and gives the one line that says why."""

    def refused(experiments: Any = None, override: Any = None, **inline: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            load(experiments, override, **inline)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refused


def test_a_generator_follows_the_split_and_segments_nothing(load: Load) -> None:
    (variant,) = load("made")
    assert variant.chain("synth") == "two/default/labelled"
    assert variant.generator is None
    (other,) = load("made", override="synth.generate.seed=3")
    assert other.chain("synth") == "two/default/labelled@generate.seed=3"


def test_what_is_only_effort_is_not_in_the_id(load: Load) -> None:
    override = "synth.stage1.workers=2 synth.stage1.memory_gb=1 synth.diffusion.checkpoint_every_steps=7"
    assert load("made", override=f"{override} synth.generate.jobs=3")[0].ids["synth"] == "labelled"


def test_an_experiment_that_makes_nothing_has_no_settings_of_synth(load: Load) -> None:
    (variant,) = load("segmented")
    assert "synth" not in variant.settings
    assert "synth" not in variant.ids


def test_its_volumes_are_train_volumes_of_the_experiment_that_asks(load: Load) -> None:
    (variant,) = load(data="mixed")
    volumes = variant.settings["data"].volumes
    assert list(volumes) == ["thin", "thick", "all_0", "all_1"]
    assert {name: (v.role, v.source, v.generated) for name, v in volumes.items() if v.generated} == {
        name: ("train", "synthetic", name) for name in ("all_0", "all_1")
    }
    assert volumes["all_0"].has_labels
    assert variant.generator is not None
    assert variant.generator.experiment == "made"
    assert variant.ids["data"] == "mixed"
    assert generated_shape(variant.generator.synth, "all_1") == (32, 32, 32)


def test_a_changed_generator_is_part_of_the_data_id(load: Load) -> None:
    (variant,) = load(data="mixed", override={"synth.generate.seed": 5})
    assert variant.ids["data"] == "mixed+labelled@generate.seed=5"
    assert variant.generator is not None
    assert variant.resolved()["generator"]["synth"]["generate"]["seed"] == 5


def test_an_id_with_all_that_changed_is_no_longer_than_the_name_of_a_file(load: Load) -> None:
    override = {"phantom.shape_zyx": [64, 64, 64], "phantom.image.noise": 3, "synth.generate.seed": 5}
    (variant,), (other,) = (
        load(data="mixed", override=override | {f"synth.{part}.max_steps": 7 for part in ("stage1", last)})
        for last in ("stage2", "diffusion")
    )
    assert len(variant.ids["data"]) < 160
    assert variant.ids["data"].startswith("mixed+")
    assert variant.ids["data"] != other.ids["data"]


def test_shares_are_swept_and_share_one_generator(load: Load) -> None:
    mixes = [{"real": 1, "synthetic": 0}, {"real": 1, "synthetic": 1}]
    variants = load(data="mixed", sweep={"data.mix": mixes})
    assert [variant.settings["data"].mix for variant in variants] == mixes
    assert len({variant.chain("train") for variant in variants}) == 2
    assert {v.generator.chain("synth") for v in variants if v.generator} == {"two/default/labelled"}


def test_some_classes_and_some_volumes_may_be_taken(load: Load, root: Path) -> None:
    (root / "config/experiments/made.yaml").write_text("data: two\nsynth: sorted\n")
    assert list(load(data="mixed")[0].settings["data"].volumes)[2:] == ["a_0", "a_1", "b_0", "b_1"]
    (root / "config/data/some.yaml").write_text("base: mixed\nsynthetic: {classes: [b], volumes: 1}\n")
    assert list(load(data="some")[0].settings["data"].volumes)[2:] == ["b_0"]


def test_volumes_of_several_shapes_are_named_by_shape() -> None:
    shapes = ((32, 32, 32), (16, 32, 64))
    cfg = SynthConfig.model_validate(
        {
            "examples": {"shapes_zyx_vx": shapes},
            "autoencoder": {"ratio_zyx": (4, 4, 4), "patch_zyx_vx": (16, 16, 16)},
            "generate": {"volumes": 1},
        }
    )
    made = list_volumes(cfg, ["a", "b"])
    assert [volume.name for volume in made] == ["a_32x32x32_0", "a_16x32x64_0", "b_32x32x32_0", "b_16x32x64_0"]
    assert [volume.shape_zyx for volume in made[:2]] == list(shapes)


def test_labels_of_new_phantoms_need_their_preset(load: Load, refuse: Refuse) -> None:
    (variant,) = load(synth="drawn")
    assert set(variant.phantoms) == {"default"}
    assert "there is no config/phantom/defalt.yaml; did you mean 'default'?" in refuse(
        synth="drawn", override="synth.labels.phantom=defalt"
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"generator": "mad"}, "synthetic.generator: there is no config/experiments/mad.yaml; did you mean 'made'?"),
        ({"generator": "segmented"}, "the experiment segmented makes no volumes"),
        ({"generator": "several"}, "several has a sweep"),
        ({"generator": "plain"}, "the volumes of plain have no labels to train on"),
        ({"classes": ["al"]}, "did you mean 'all'?"),
        ({"volumes": 3}, "made makes fewer of each class and shape; expected at most 2; got 3"),
        ({"volumes": 0}, "data.synthetic.volumes: wrong value; expected greater than 0; got 0"),
        ({"source": "painted"}, "mix: no train volume has the source 'synthetic'"),
    ],
)
def test_volumes_that_no_generator_makes_are_refused(refuse: Refuse, asked: dict[str, Any], words: str) -> None:
    mine = {"data": "mixed", "override": {f"data.synthetic.{key}": value for key, value in asked.items()}}
    assert words in refuse({"mine": mine})


def test_a_generator_cannot_need_its_own_volumes(refuse: Refuse) -> None:
    assert "round needs volumes that it makes itself" in refuse("round")


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        ({"synth": "tinny"}, "synth: there is no config/synth/tinny.yaml"),
        ({"data": "untrained", "synth": "small"}, "has no volume to learn from; expected a volume with role: train"),
        ({"data": "bare", "synth": "labelled"}, "volumes.one has no labels, and labels.kind is conditional"),
        ({"data": "files", "synth": "labelled"}, "a collection has no labels; expected labels.kind: none"),
        ({"data": "files", "synth": "sorted"}, "a collection has classes of its own"),
        ({"synth": "sorted", "override": {"synth.examples.classes": {"a": ["thik*"]}}}, "called so"),
        ({"synth": "sorted", "override": {"synth.examples.classes": {"a": []}}}, "got none"),
        ({"synth": "sorted", "override": {"synth.examples.classes": {"a/b": ["thin"]}}}, "the name of a class"),
        ({"synth": "small", "override": {"train.max_steps": 5}}, "changes nothing: only volumes are made"),
        ({"override": {"synth.generate.seed": 1}}, "changes nothing: no experiment names a preset of synth"),
    ],
)
def test_an_experiment_that_cannot_make_volumes_is_refused(
    refuse: Refuse, experiment: dict[str, Any], words: str
) -> None:
    assert words in refuse({"mine": {"data": "two"} | experiment})


def test_a_collection_is_only_for_a_generator(load: Load, refuse: Refuse) -> None:
    assert load(data="files", synth="small")[0].settings["data"].collection.path == "scans"
    assert "collection" in refuse(data="files")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"collection": {"path": "a"}, "volumes": {"one": {"raw": "a", "role": "train"}}}, "collection stands alone"),
        ({"collection": {"path": "a", "held_out": 1}}, "less than 1"),
        ({}, "give volumes, cellmap or collection"),
    ],
)
def test_a_collection_is_all_there_is(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        STAGES["data"].model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"autoencoder": {"ratio_zyx": [3, 4, 4]}}, "powers of two"),
        ({"autoencoder": {"ratio_zyx": [1, 1, 1]}}, "at least one axis must be halved"),
        ({"autoencoder": {"patch_zyx_vx": [60, 64, 64]}}, "multiples of the ratio 8, got 60"),
        ({"autoencoder": {"hidden": 50}}, "a divisor of hidden"),
        ({"denoiser": {"dim": 64}}, "a multiple of 6"),
        ({"denoiser": {"mults": [1, 1, 2]}}, "expected one for each of 3 levels"),
        ({"denoiser": {"subvolume": 6}}, "expected a power of two"),
        ({"denoiser": {"token": 3}}, "a divisor of subvolume"),
        ({"denoiser": {"mults": [2, 2, 2, 4, 8]}}, "expected to begin with 1"),
        ({"generate": {"steps": 300}}, "a divisor of 1000, got 300"),
        ({"generate": {"guidance": 2}}, "needs diffusion.label_dropout"),
        ({"generate": {"formats": ["nifti"]}}, "expected zarr"),
        ({"diffusion": {"batches": [1, 2]}}, "expected 1, one for each shape, got 2"),
        ({"examples": {"shapes_zyx_vx": [[32, 64, 64]]}}, "sides of at least the patch"),
        ({"examples": {"shapes_zyx_vx": [[64, 64, 64]] * 2}}, "each shape once"),
        ({"examples": {"intensity": [5, 5]}}, "intensity: expected"),
        ({"examples": {"intensity": [0, 5], "percentiles": [1, 99]}}, "not both"),
        ({"perceptual": {"kind": "medicalnet"}}, "nothing is downloaded"),
        ({"perceptual": {"kind": "lpips", "weights": "a.pth"}}, "heads belongs to kind lpips"),
        ({"perceptual": {"weights": "a.pth"}}, "changes nothing"),
        ({"metrics": {"features": "medicalnet"}}, "needs it: the path of a file"),
        ({"stage1": {"max_steps": True}}, "valid integer"),
        ({"stage1": {"lerning_rate": 1}}, "lerning_rate"),
    ],
)
def test_settings_that_cannot_go_together_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SynthConfig.model_validate(settings)


def test_all_steps_go_with_any_number_of_them() -> None:
    cfg = SynthConfig.model_validate({"generate": {"sampler": "ddpm", "steps": 300}})
    assert cfg.generate.sampler == "ddpm"


def test_shapes_are_padded_to_what_patches_and_denoiser_divide() -> None:
    cfg = SynthConfig.model_validate(
        {
            "autoencoder": {"ratio_zyx": [1, 4, 4], "patch_zyx_vx": [12, 48, 48]},
            "denoiser": {"subvolume": 4},
        }
    )
    assert cfg.multiple_zyx_vx == (24, 96, 96)


def test_synthesise_makes_what_is_chosen_and_else_its_own(root: Path) -> None:
    config = {"experiments": ["segmented"], "synthesise": "made"}
    assert [v.experiment for v in load_synthesis(config, root, load_run(config, root))] == ["made"]
    config = {"experiments": ["segmented", "plain"], "synthesise": "made"}
    assert [v.experiment for v in load_synthesis(config, root, load_run(config, root))] == ["plain"]
    config = {"experiments": {"mixed": {"data": "mixed"}, "segmented": None}, "synthesise": "plain"}
    assert [v.experiment for v in load_synthesis(config, root, load_run(config, root))] == ["made"]
    config = {"experiments": ["segmented"], "synthesise": "made", "override": {"data.volumes.thick.seed": 5}}
    (made,) = load_synthesis(config, root, load_run(config, root))
    assert made.ids["data"] == "two"  # that volume is one of the chosen experiment
    config = {"experiments": ["segmented"], "synthesise": "segmented"}
    with pytest.raises(ConfigError, match=r"config\.yaml or --config: synthesise: the experiment segmented makes no"):
        load_synthesis(config, root, load_run(config, root))


def test_settings_of_a_generator_are_found_by_its_id(load: Load) -> None:
    (variant,) = load(data="mixed")
    assert variant.generator is not None
    index = index_variants([variant, variant.generator])
    assert index["synth", "labelled"].settings["synth"].labels.kind == "conditional"
    assert index["data", "mixed"] is variant
