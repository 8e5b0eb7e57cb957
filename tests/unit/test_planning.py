"""What a run takes, on paper: numbers of jobs, and the table of a volume that nobody has."""

import csv
import typing
from math import ceil, prod

import pytest

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.jobs import FEW_JOBS, MOST_JOBS, count_jobs, divide
from connectomake.config.settings.predict import PredictConfig
from connectomake.config.settings.predict_regions import RegionConfig
from connectomake.config.settings.train import TrainConfig
from connectomake.files import write_json
from connectomake.planning.rates import DEFAULTS, measure_rates
from connectomake.planning.stages import Machine, plan_stages
from connectomake.planning.table import describe, write_plan
from connectomake.planning.work import read_work

NETWORK = {"architecture": "monai_basic_unet3d", "filters": [4, 4, 8, 8, 8, 4]}
TERA = (40_000, 50_000, 50_000)
MACHINE = Machine(gpus=8, cores=64)
CHANNELS = len(TrainConfig().targets.channels)
BLOCKS = {"block_zyx_vx": [512, 512, 512], "jobs": "auto"}


def predict(**options):
    return PredictConfig(**{"jobs": "auto", "block_zyx_vx": (256, 1024, 1024)} | options)


def make_work(shape=TERA, jobs=100, volume=None, **options):
    """Describe one variant as the Snakefile does."""
    told = {"shape_zyx": shape, "voxel_size_zyx_nm": (8, 8, 8), "dtype": "uint8", "channels": 1}
    told |= {"source": "header", "is_linked": True}
    variant = {
        "name": "tera",
        "chains": {stage: f"{stage}s" for stage in ("data", "train", "predict", "decode", "measure", "submit")},
        "is_trained": True,
        "is_challenge": False,
        "segmented": ["big"],
        "trained_on": ["small"],
        "measured": ["big"],
        "volumes": {"small": {**told, "shape_zyx": (128, 128, 128)}, "big": volume or told},
        "jobs": {"big": {"predict": jobs, "decode": jobs}},
        "train": TrainConfig(model=NETWORK, patch_zyx_vx=(64, 64, 64)).model_dump(mode="json"),
        "predict": predict(memory_gb=48).model_dump(mode="json"),
        "decode": DecodeConfig(**BLOCKS).model_dump(mode="json"),
    }
    return {"variants": [{**variant, **options}]}


def rows_of(work, machine=MACHINE, measured=None):
    return {(row.stage, row.volume): row for row in plan_stages(read_work(work), machine, measured)}


@pytest.mark.parametrize(
    ("cfg", "shape", "jobs"),
    [
        (predict(jobs=7), TERA, 7),
        (predict(), (256, 512, 512), 1),
        (predict(), (10_000, 10_000, 10_000), FEW_JOBS),  # a teravoxel: longer jobs rather than more
        (predict(), TERA, 8334),
        (predict(), (10**5, 10**5, 10**5), MOST_JOBS),
        (predict(mvoxel_per_job=1), (256, 2048, 2048), 4),  # never more than blocks
        (predict(mvoxel_per_job=100), (1024, 1024, 1024), 4),
        (predict(mvoxel_per_job=100, block_zyx_vx=(64, 64, 64)), (1024, 1024, 1024), 11),
        (predict(), None, 1),  # a crop of a challenge
        (DecodeConfig(**BLOCKS), (10_000, 10_000, 10_000), 100),
    ],
)
def test_the_number_of_jobs_follows_from_the_shape(cfg, shape, jobs):
    assert count_jobs(cfg, shape) == jobs


@pytest.mark.parametrize(
    "region",
    [
        {"box_zyx_vx": ((0, 0, 0), (1024, 1024, 1024))},
        {"box_zyx_nm": ((0, 0, 0), (8192, 8192, 8192))},
        {"crops_zyx_vx": [((0, 0, 0), (512, 1024, 1024)), ((9000, 0, 0), (9512, 1024, 1024))]},
        {"crops_zyx_nm": [((0, 0, 0), (8192, 8192, 8192))]},
    ],
)
def test_a_part_of_a_volume_needs_the_jobs_of_the_part(region):
    cfg = predict(mvoxel_per_job=100, block_zyx_vx=(64, 64, 64))
    assert count_jobs(cfg, TERA, (8, 8, 8), RegionConfig(**region)) == 11


def test_jobs_are_effort_and_no_part_of_a_result():
    for stage in (PredictConfig, DecodeConfig):
        assert {"jobs", "mvoxel_per_job"} <= stage.effort
    with pytest.raises(ValueError, match="set block_zyx_vx"):
        DecodeConfig(jobs="auto")


@pytest.mark.parametrize("amount", [1, 499, 501, 7000, 10**6])
def test_more_work_never_makes_fewer_jobs(amount):
    assert divide(amount, 1, 10**9) <= divide(amount + 1, 1, 10**9) <= MOST_JOBS


def test_a_hundred_teravoxel_are_planned_on_paper():
    jobs = count_jobs(predict(), TERA)
    rows = rows_of(make_work(jobs=jobs))
    found = rows["predict", "big"]
    assert found.jobs == jobs
    assert found.storage_gb == pytest.approx(CHANNELS * prod(TERA) / 1e9 * 8 / 7)
    assert 0 < found.memory_gb <= 48
    assert found.gpu_hours / jobs < 4
    assert found.wall_hours == pytest.approx(ceil(jobs / 8) * (found.gpu_hours / jobs + 0.2 / 60))
    assert rows["decode", "big"].storage_gb == pytest.approx(8 * prod(TERA) / 1e9)
    assert rows["ingest", "big"].storage_gb == 0
    assert "header" in found.told_by
    assert {stage for stage, _ in rows} == {"ingest", "train", "predict", "decode", "measure"}


def test_the_hours_are_those_of_the_stage_itself():
    small, double = (rows_of(make_work((512, 1024, side)))["predict", "big"] for side in (1024, 2048))
    assert double.gpu_hours == pytest.approx(2 * small.gpu_hours, rel=0.1)
    on_cores = make_work((512, 1024, 1024), predict=predict(device="cpu", memory_gb=48).model_dump(mode="json"))
    found = rows_of(on_cores)["predict", "big"]
    assert (found.gpu_hours, found.cpu_hours > 0) == (0, True)
    part = predict(regions={"big": {"box_zyx_vx": ((0, 0, 0), (512, 1024, 1024))}}, memory_gb=48)
    assert rows_of(make_work(predict=part.model_dump(mode="json")))["predict", "big"].gpu_hours == small.gpu_hours


def test_a_job_has_the_threads_of_its_preset_and_no_more_than_there_are_cores():
    def wall(threads, cores):
        cfg = predict(device="cpu", memory_gb=48, threads=threads).model_dump(mode="json")
        work = make_work((512, 1024, 1024), jobs=1, predict=cfg)
        return rows_of(work, Machine(gpus=0, cores=cores))["predict", "big"].wall_hours

    assert wall(1, 64) > 2 * wall(4, 64)
    assert wall(4, 64) == wall(8, 4) == wall(64, 4)


def test_voxels_are_counted_at_the_size_that_the_network_is_trained_with():
    fine = {"shape_zyx": (512, 1024, 1024), "voxel_size_zyx_nm": (4, 4, 4), "dtype": "uint8", "channels": 1}
    fine |= {"source": "header", "is_linked": False}
    row = rows_of(make_work(volume=fine))["predict", "big"]
    assert row.storage_gb == pytest.approx(CHANNELS * 256 * 512 * 512 / 1e9 * 8 / 7)


def test_a_crop_that_is_not_ingested_is_not_counted(tmp_path, caplog):
    rows = rows_of(make_work(volume={"volume_json": str(tmp_path / "volume.json")}))
    assert ("predict", "big") not in rows
    assert "1 crops are not counted" in caplog.text


def test_what_variants_share_is_there_once(tmp_path):
    one = make_work((256, 512, 512))["variants"][0]
    other = {**one, "chains": {**one["chains"], "decode": "other", "measure": "other"}}
    rows = plan_stages(read_work({"variants": [one, other]}), MACHINE)
    assert [row.stage for row in rows].count("predict") == 1
    assert [row.stage for row in rows].count("decode") == 2
    write_plan(rows, tmp_path / "report/plan.tsv")
    with (tmp_path / "report/plan.tsv").open() as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    assert [row["stage"] for row in table] == [row.stage for row in rows]
    text = "\n".join(describe(rows, MACHINE))
    assert "in all" in text
    assert "8 GPUs and 64 cores" in text


def leave(results, stage, name, seconds, shape=(100, 1000, 1000), job=None, **arguments):
    """Leave what a job leaves: its provenance, and the header of its labels."""
    folder = results / stage / name
    write_json(folder / "labels.zarr/s0/zarr.json", {"shape": list(shape)})
    rule = arguments.pop("rule")
    suffix = "" if job is None else f"-{job[0]}-of-{job[1]}"
    given = {"labels": str(folder / "labels.zarr/zarr.json"), **arguments}
    given |= {} if job is None else {"job": job[0], "jobs": job[1], "labels": str(folder / "labels.zarr")}
    told = {"stage": rule, "arguments": given, "seconds": seconds / 2, "cpu_seconds": seconds}
    write_json(folder / f"provenance/{rule}{suffix}.json", told)


def test_rates_are_those_of_earlier_jobs(tmp_path):
    cfg = {"cfg": {"decoder": "waterz"}}
    leave(tmp_path, "decode", "a", 100, rule="decode_affinities", **cfg)
    leave(tmp_path, "decode", "b", 60, rule="decode_affinities", shape=(3, 60, 1000, 1000), **cfg)
    leave(tmp_path, "decode", "short", 29, rule="decode_affinities", **cfg)
    leave(tmp_path, "measure", "a", 50, rule="measure_segmentation", cfg={})
    write_json(tmp_path / "measure/b/provenance/measure_segmentation.json", {"stage": "measure_segmentation"})
    (tmp_path / "measure/b/provenance/torn.json").write_text("{")
    found = measure_rates(tmp_path)
    assert {kind: (rate.mvoxel_per_s, rate.jobs) for kind, rate in found.items()} == {
        "decode waterz": (1.0, 2),
        "measure": (2.0, 1),
    }
    decode = DecodeConfig(decoder="waterz").model_dump(mode="json")
    work = make_work((512, 1024, 1024), decode=decode)
    default, measured = rows_of(work), rows_of(work, measured=found)
    assert measured["decode", "big"].cpu_hours == pytest.approx(default["decode", "big"].cpu_hours * 0.6)
    assert measured["decode", "big"].told_by == "header; 1 Mvoxel/s and core (waterz), measured in 2 earlier jobs"
    assert measured["measure", "big"].told_by == "header; 2 Mvoxel/s and core, measured in 1 earlier job"
    assert default["decode", "big"].told_by == "header; 0.6 Mvoxel/s and core (waterz), default rate"
    assert measured["ingest", "big"].told_by == "header; 50 Mvoxel/s and core, default rate"


def test_all_jobs_of_a_volume_in_blocks_are_one_measurement(tmp_path):
    cfg = {"cfg": {"decoder": "affinity_cc"}}
    for rule in ("label_blocks", "relabel_blocks"):
        for job in range(2):
            leave(tmp_path, "decode", "a", 10, rule=rule, job=(job, 2), **cfg)
    leave(tmp_path, "decode", "a", 5, rule="stitch_blocks", **cfg)
    leave(tmp_path, "decode", "a", 5, rule="finish_labels", **cfg)
    (rate,) = measure_rates(tmp_path).values()
    assert (rate.mvoxel_per_s, rate.jobs) == (2.0, 6)
    (tmp_path / "decode/a/provenance/label_blocks-1-of-2.json").unlink()
    assert measure_rates(tmp_path) == {}
    assert measure_rates(tmp_path / "nothing") == {}


def test_every_decoder_has_a_default_rate():
    decoders = typing.get_args(DecodeConfig.model_fields["decoder"].annotation)
    assert {f"decode {name}" for name in decoders} <= DEFAULTS.keys()
