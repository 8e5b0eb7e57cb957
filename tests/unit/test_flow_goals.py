"""What experiments end in: labels, tables, pictures, submissions, generated volumes; and how trainings start."""

import json

import pytest
from test_flow_study import ids_of, study_of

from connectomake.cellmap.manifest import CropGrid, ManifestRow, write_manifest
from connectomake.flow.challenge import Challenge, list_crops, list_scored
from connectomake.flow.goals import Goals
from connectomake.flow.reruns import code
from connectomake.flow.synthesis import Synthesis, count_gpus
from connectomake.flow.trainings import FIT, ON_DEVICES, ON_NODES, Trainings
from connectomake.provenance import code_of


def goals_of(study, kept_back=None):
    return Goals(study, Challenge(study, kept_back), Synthesis(study))


def test_the_demo_ends_in_labels_a_table_and_pictures():
    study = study_of(results="out")
    goals, variant = goals_of(study), study.variants[0]
    own = f"out/decode/{variant.chain('decode')}"
    assert goals.labels() == [f"{own}/{name}/labels.zarr/zarr.json" for name in ("validate", "test")]
    assert goals.tables() == ["out/report/phantom/metrics.tsv"]
    figures = goals.figures()
    assert len(set(figures)) == len(figures)
    for name in ("metrics.html", "overview.png", "settings.yaml", "errors.html"):
        assert f"out/report/phantom/{name}" in figures
    assert f"out/report/curves/{variant.chain('train')}/curves.png" in figures
    assert not any("tune.png" in path or "submit" in path for path in figures)
    assert goals.overview({"experiment": "phantom"})["volume"] == "out/ingest/phantom/test/volume.json"
    assert goals.page({}) == "out/report/report.html"


def test_what_is_not_trained_here_has_no_pictures_of_a_training():
    study = study_of(override={"predict.checkpoints": ["/there/a.ckpt"]})
    assert not any("/curves/" in path or "/augmentations/" in path for path in goals_of(study).figures())


def test_each_measurement_is_named_by_its_variant_and_volume():
    study = study_of("phantom_sweep", results="out")
    goals, place = goals_of(study), {"experiment": "phantom_sweep"}
    files = goals.measured_files("measure", "errors.tsv", place)
    names, volumes = goals.measured_variants(place), goals.measured_volumes(place)
    assert len(files) == len(names) == len(volumes) == 2 * len(study.variants)
    assert set(names) == {variant.name for variant in study.variants}
    assert all(f"/{volume}/errors.tsv" in file for file, volume in zip(files, volumes, strict=True))
    assert len(goals.number_files(place)) == len(goals.number_variants(place)) == len(files)


def test_the_page_of_the_demo_is_that_of_its_experiment():
    with pytest.raises(ValueError, match="leave out --config experiments"):
        goals_of(study_of("phantom_sweep")).page({})


def test_what_runs_is_described_with_what_is_there(tmp_path):
    study = study_of(results=str(tmp_path))
    variant = study.variants[0]
    model = tmp_path / "train" / variant.chain("train") / "model.ckpt"
    before = "\n".join(goals_of(study).describe())
    model.parent.mkdir(parents=True)
    model.touch()
    after = "\n".join(goals_of(study).describe())
    assert before != after
    assert "phantom" in before


def test_a_challenge_ends_in_a_submission_and_its_scores(tmp_path):
    study = study_of("cellmap_mini", results="out")
    variant = study.variants[0]
    kept = tmp_path / "validation_manifest.csv"
    grid = CropGrid((10,) * 3, (8.0,) * 3, (0.0,) * 3)
    labels = (("crop3", "mito"), ("crop3", "ves"), ("crop4", "mito"))
    write_manifest(kept, [ManifestRow(crop, "jrc_mini", label, grid) for crop, label in labels])
    challenge = Challenge(study, lambda place: str(kept))
    place = ids_of(variant, part="validation")
    assert list_scored(variant) == ["validation", "submission"]
    own = f"out/submit/{variant.chain('submit')}"
    assert {f"{own}/submission.zip", f"{own}/submission.check.json", f"{own}/validation.score.json"} <= set(
        challenge.submitted(variant)
    )
    assert challenge.goal() == challenge.submitted(variant)
    assert challenge.part_manifest(place) == str(kept)
    assert challenge.part_volumes(place) == [
        f"out/ingest/{variant.ids['data']}/jrc_mini.crop{n}/volume.json" for n in (3, 4)
    ]
    assert challenge.part_decoded(place)[0] == f"{own}/jrc_mini.crop3/crop.json"
    generated = f"out/phantom/challenge/{variant.ids['data']}"
    assert (
        challenge.tree(place) == challenge.part_truth(place) == challenge.generated_tree(place) == f"{generated}/tree"
    )
    submitted = {**place, "part": "submission"}
    assert challenge.part_truth(submitted) == f"{generated}/truth.zarr"
    assert challenge.part_manifest(submitted) == f"{generated}/test_crop_manifest.csv"
    assert len(challenge.part_volumes(submitted)) == len(list_crops(variant, "predict")) > 0
    assert challenge.generated(place) == {"challenge": f"{generated}/challenge.json"}
    assert challenge.datasplit(place)["datasplit"].endswith("datasplit.csv")
    goals = goals_of(study, challenge.kept_back)
    assert goals.labels() == [f"{own}/{name}/crop.json" for name in list_crops(variant, "predict")]
    assert f"out/split/{variant.chain('split')}/class_voxels.png" in goals.figures()


def test_a_submission_without_a_challenge_is_refused():
    with pytest.raises(ValueError, match="try experiments=cellmap_mini"):
        Challenge(study_of(), lambda place: "").goal()


def test_each_part_of_a_generator_is_told_what_it_depends_on():
    study = study_of("synth_tiny", results="out")
    synthesis, place = Synthesis(study), ids_of(study.variants[0])
    stage1, diffusion, generate = (synthesis.settings(part)(place) for part in ("stage1", "diffusion", "generate"))
    assert "stage1" in stage1
    assert "diffusion" not in stage1
    assert "jobs" not in generate["generate"]
    assert "jobs" not in diffusion["latents"]
    assert diffusion["generate"] == {"sampler": "ddpm"}
    other = study_of("synth_tiny", override={"synth.generate.seed": 99, "synth.generate.jobs": 5})
    there = ids_of(other.variants[0])
    assert Synthesis(other).settings("diffusion")(there) == diffusion
    assert Synthesis(other).settings("generate")(there) != generate
    assert len(Synthesis(other).markers("generate", "volumes")(there)) == 5


def test_what_a_generator_makes_and_asks_for():
    study = study_of("synth_tiny", results="out")
    synthesis, place = Synthesis(study), ids_of(study.variants[0])
    assert synthesis.goal() == synthesis.results_of(study.variants[0])
    assert synthesis.split(place)["split"].endswith("split.tsv")
    assert synthesis.collection(place) is None
    assert synthesis.given_phantom(place) is None
    assert synthesis.memory_to_fit("stage1")(place, 2) == 32000
    assert synthesis.gpu_to_compute(place) == (synthesis.device(place) != "cpu")
    assert Trainings(study).synth_start("stage1")(place) == "python"
    several = study_of("synth_tiny", override={"synth.stage1.devices": 2, "synth.stage1.device": "cuda"})
    there = ids_of(several.variants[0])
    assert Trainings(several).synth_start("stage1")(there).startswith("torchrun --nproc-per-node 2 ")
    assert Synthesis(several).gpus_to_fit("stage1")(there) == 2
    assert json.loads(Trainings(study).synth_json("stage1")(place)) == synthesis.settings("stage1")(place)


def test_volumes_of_a_generator_wait_for_its_jobs():
    study = study_of("mix_synthetic", results="out")
    variant = study.variants[0]
    name = next(n for n, source in variant.data.volumes.items() if source.generated)
    place, own = ids_of(variant, volume=name), f"out/synth/{variant.generator.chain('synth')}/volumes"
    synthesis = Synthesis(study)
    assert synthesis.folder_of_generated(place).startswith(own)
    assert synthesis.markers_of_generator(place)[0].startswith(f"{own}/0-of-")
    real = next(n for n, source in variant.data.volumes.items() if not source.generated)
    assert synthesis.folder_of_generated({**place, "volume": real}) is None


def test_trainings_ask_for_their_devices():
    study = study_of(override={"train.devices": 2, "train.nodes": 3, "train.device": "cuda"})
    trainings, place = Trainings(study), ids_of(study.variants[0])
    assert (trainings.devices(place), trainings.nodes(place), trainings.gpus(place)) == (2, 3, 2)
    assert (trainings.gres(place), trainings.gres_flag(place)) == ("gpu:2", "--gres gpu:2")
    assert trainings.memory_mb(place, 2) == 64000
    alone = study_of(override={"train.device": "cpu"})
    there = ids_of(alone.variants[0])
    assert (Trainings(alone).gpus(there), Trainings(alone).gres_flag(there)) == (0, "")
    assert count_gpus(alone.variants[0].train) == 0
    assert json.loads(trainings.settings_json(place)) == study.settings("train")(place)
    assert json.loads(trainings.augment_json(place)) == study.settings("train", "augment")(place)
    assert trainings.presets() == ["demo"]
    assert trainings.first_with("demo") is study.variants[0]


def test_commands_of_trainings_name_what_rules_have():
    for text in (ON_DEVICES, ON_NODES, FIT):
        assert "--checkpoint {output.checkpoint:q}" in text
        assert "--run-folder {params.run_folder:q}" in text
    assert "SIGUSR1" in ON_DEVICES
    assert "--rdzv-endpoint" in ON_NODES


def test_the_code_of_a_rule_is_that_of_its_modules():
    assert code("split", "cellmap")({}) == code_of("split", "cellmap") != code("decode")({})
