"""Which files rules read, how many jobs there are, and what they ask of a machine."""

import json

import pytest
from small_volume import write_description
from test_flow_study import ids_of, study_of

from connectomake.flow.files import Inputs, list_measured, list_segmented
from connectomake.flow.jobs import Jobs, find_complete, read_extent
from connectomake.flow.planned import describe_work
from connectomake.flow.resources import SNAKEMAKE_MB, JobResources, per_attempt
from connectomake.planning.work import read_work
from connectomake.volumes.prediction_needs import PredictionNeeds


@pytest.fixture(scope="module")
def demo():
    return study_of(results="out")


def at(study, volume="test", **others):
    return ids_of(study.variants[0], volume=volume, **others)


def test_a_generated_volume_is_read_from_its_phantom(demo):
    inputs, place = Inputs(demo), at(demo)
    source = inputs.source(place)
    own = f"out/phantom/{demo.variants[0].phantoms[source.phantom].id}/seed{source.seed}"
    assert inputs.ingest(place) == {"raw": f"{own}/raw.zarr/zarr.json", "labels": f"{own}/labels.zarr/zarr.json"}
    assert inputs.skeleton_source(place) == {"source": f"{own}/skeletons.npz"}
    assert inputs.skeletons(place) == {"skeletons": "out/ingest/phantom/test/skeletons.npz"}
    assert inputs.volumes(place) == [f"out/ingest/phantom/{name}/volume.json" for name in ("train", "validate", "test")]
    assert not inputs.is_traced(place)
    assert inputs.plain_source(place) == source.model_dump(mode="json")
    phantom = demo.variants[0].phantoms[source.phantom]
    assert inputs.phantom({"phantom": phantom.id}) == phantom.settings.model_dump(mode="json")


def test_files_of_the_user_are_inputs_and_urls_are_not():
    near = {"raw": "a.h5::raw", "labels": "b.zarr::s0", "skeletons": "from_labels"}
    far = {"raw": "s3://bucket/a.zarr::s0", "labels": None, "skeletons": None, "role": "predict"}
    changes = {f"data.volumes.train.{key}": value for key, value in near.items()}
    changes |= {f"data.volumes.validate.{key}": value for key, value in far.items()}
    study = study_of("fib25", override={**changes, "data.folder": "/data"})
    inputs = Inputs(study)
    assert inputs.ingest(at(study, "train")) == {"raw_file": "/data/a.h5", "labels_file": "/data/b.zarr"}
    assert inputs.skeleton_source(at(study, "train")) == {}
    assert inputs.is_traced(at(study, "train"))
    assert inputs.ingest(at(study, "validate")) == inputs.skeletons(at(study, "validate")) == {}
    assert list_segmented(study.variants[0]) == ["validate"]
    assert list_measured(study.variants[0]) == []


def test_networks_are_the_trained_one_and_those_that_are_named(demo):
    assert Inputs(demo).networks(at(demo)) == [f"out/train/{demo.variants[0].chain('train')}/model.ckpt"]
    others = study_of(results="out", override={"predict.checkpoints": ["trained", "/there/a.ckpt"]})
    assert Inputs(others).networks(at(others))[1] == "/there/a.ckpt"


def test_tuning_reads_the_validation_volumes():
    study = study_of("phantom_tuned", results="out")
    inputs, place = Inputs(study), at(study)
    assert inputs.tuned(place) == {"best": f"out/decode/{study.variants[0].chain('decode')}/best.yaml"}
    found = inputs.tuning(place)
    assert found["volumes"] == ["out/ingest/phantom/validate/volume.json"]
    assert found["affinities"] == [
        f"out/predict/{study.variants[0].chain('predict')}/validate/affinities.zarr/zarr.json"
    ]
    assert Inputs(study_of()).tuned(at(study_of())) == {}


def test_a_training_that_measures_by_skeletons_reads_them():
    asked = {"criterion": "nerl"}
    study = study_of(results="out", override={"train.validate_segmentation": asked})
    assert Inputs(study).validation_skeletons(at(study)) == ["out/ingest/phantom/validate/skeletons.npz"]
    assert Inputs(study_of()).validation_skeletons(at(study_of())) == []


def write_markers(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_markers_of_jobs_stay_those_that_made_the_store(tmp_path):
    study = study_of(results=str(tmp_path), override={"predict.jobs": 3})
    place = at(study)
    store = tmp_path / "predict" / study.variants[0].chain("predict") / "test"
    planning, job = Jobs(study, True), Jobs(study, False)
    expected = [f"{store}/jobs/{k}-of-3.json" for k in range(3)]
    assert planning.markers("predict")(place) == job.markers("predict")(place) == expected
    write_markers(store / "jobs", "0-of-2.json", "1-of-2.json", "0-of-5.json")
    assert find_complete(f"{store}/jobs", "") == {2}
    assert planning.markers("predict")(place) == expected  # the store is not complete: as many as are asked for now
    assert len(job.markers("predict")(place)) == 2  # it was planned for what is there
    write_markers(store / "affinities.zarr", "zarr.json")
    assert len(planning.markers("predict")(place)) == 2


def test_markers_of_one_kind_are_not_those_of_another(tmp_path):
    write_markers(tmp_path, "label-0-of-2.json", "label-1-of-2.json", "relabel-0-of-1.json", "x-of-1.json")
    assert find_complete(str(tmp_path), "label-") == {2}
    assert find_complete(str(tmp_path), "relabel-") == {1}
    assert find_complete(str(tmp_path), "") == find_complete(str(tmp_path / "none"), "") == set()


def test_volumes_are_as_large_as_their_presets_say(demo):
    phantom = next(iter(demo.variants[0].phantoms.values())).settings
    extent = read_extent(demo, "phantom", "test")
    assert extent["shape_zyx"] == list(phantom.shape_zyx)
    assert extent["dtype"] == "uint8"
    mini = study_of("cellmap_mini")
    assert read_extent(mini, mini.variants[0].ids["data"], list_segmented(mini.variants[0])[0]) == {}


def test_a_generated_volume_has_its_own_shape_and_its_examples_voxels():
    study = study_of("mix_synthetic")
    variant = study.variants[0]
    name, source = next((n, s) for n, s in variant.data.volumes.items() if s.generated)
    extent = read_extent(study, variant.ids["data"], name)
    assert f"{extent['shape_zyx'][0]}" in source.generated or extent["shape_zyx"]
    example = next(n for n, s in variant.generator.data.volumes.items() if s.role == "train")
    learnt = read_extent(study, variant.generator.ids["data"], example)
    assert extent["voxel_size_zyx_nm"] == learnt["voxel_size_zyx_nm"]


def test_the_work_of_a_study_can_be_planned(demo):
    work = describe_work(demo, Jobs(demo, True))
    found = next(iter(read_work(json.loads(json.dumps(work)))))
    assert found.jobs["test"] == {"predict": demo.variants[0].predict.jobs, "decode": demo.variants[0].decode.jobs}
    assert list(found.segmented) == ["validate", "test"]
    assert describe_work(study_of("synth_tiny"), Jobs(study_of("synth_tiny"), True)) == {"variants": []}


IN_BLOCKS = {"decode.fill": "none"}


class Named:
    def __init__(self, **values):
        self.__dict__.update(values)


def test_prediction_asks_for_what_its_plan_says(demo, tmp_path):
    plan = tmp_path / "plan.json"
    needs = PredictionNeeds(mem_mb=1000, start_minutes=1.5, most_minutes=10.0)
    plan.write_text(json.dumps({"needs": needs.as_plain()}))
    resources, place, given = JobResources(demo), at(demo, jobs="4"), Named(plan=str(plan))
    assert resources.predict_mb(place, given, attempt=2) == 2 * (1000 + SNAKEMAKE_MB)
    assert resources.predict_min(place, given, attempt=1) == 4
    assert resources.predict_threads(place) == demo.variants[0].predict.threads


def test_what_is_not_made_yet_is_an_error_that_snakemake_knows(demo, tmp_path):
    """It plans with a mark in place of a number where the system's own error names an input."""
    resources, missing = JobResources(demo), str(tmp_path / "none.json")
    for ask, given in ((resources.predict_mb, Named(plan=missing)), (resources.decode_crop_mb, Named(volume=missing))):
        with pytest.raises(FileNotFoundError) as caught:
            ask(at(demo, jobs="1"), given, attempt=1)
        assert caught.value.filename == missing


def test_memory_grows_with_the_block_the_crop_and_the_attempt(demo, tmp_path):
    resources, place = JobResources(demo), at(demo)
    blocks = study_of(override=IN_BLOCKS | {"decode.block_zyx_vx": [64, 64, 64]})
    larger = study_of(override=IN_BLOCKS | {"decode.block_zyx_vx": [256, 256, 256]})
    small, large = (JobResources(s).decode_block_mb(at(s), attempt=1) for s in (blocks, larger))
    assert SNAKEMAKE_MB < small < large
    assert resources.measure_mb(place, threads=4, attempt=2) == 2 * resources.measure_mb(place, threads=4, attempt=1)
    assert resources.measure_mb(place, 8, 1) > resources.measure_mb(place, 1, 1)
    assert resources.trace_mb(place, 2, 1) > resources.trace_mb(place, 1, 1)
    found = []
    for side in (100, 400):
        volume = write_description(tmp_path / f"{side}.json", {"crop": {"shape_zyx": [side] * 3}})
        found.append(resources.decode_crop_mb(place, Named(volume=str(volume)), attempt=1))
    assert found[0] < found[1]
    assert per_attempt(30)(place, 3) == 90
