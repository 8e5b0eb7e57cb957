"""Other ways to predict, as jobs of the workflow: a part of a volume, float16, mirrored, a network from a file."""

import json

import numpy as np
import pytest
import yaml

from connectomake.volumes.store import read_attributes
from connectomake.volumes.volume import open_volume

pytestmark = pytest.mark.slow("starts Snakemake, which trains and predicts in three ways")

BOX = [[8, 4, 0], [40, 44, 48]]
CROPS = [[[8, 4, 0], [20, 30, 48]], [[24, 8, 8], [40, 44, 40]]]
MIRRORED = {"predict.tta": {"flip": ["x"]}, "predict.dtype": "float16", "predict.jobs": 1}
WAYS = {
    "whole": MIRRORED,
    "part": {**MIRRORED, "predict.regions": {"test": {"box_zyx_vx": BOX, "crops_zyx_vx": CROPS}}},
}


@pytest.fixture
def config(small_config, tmp_path):
    """Write a config of two experiments that share one small model."""
    small = yaml.safe_load(small_config.read_text())
    experiments = {
        name: {"data": "phantom", "train": "demo", "decode": "default", "override": way} for name, way in WAYS.items()
    }
    path = tmp_path / "ways.yaml"
    path.write_text(yaml.safe_dump({**small, "experiments": experiments}))
    return path


def test_ways_to_predict(snakemake, config, tmp_path):
    results = tmp_path / "results"
    end = snakemake("evaluate", "--configfile", config)
    assert end.returncode == 0, end.stderr
    stores = {
        "part" if read_attributes(store)["region"]["crops_zyx_vx"] else "whole": open_volume(store)
        for store in results.glob("predict/**/test/affinities.zarr")
    }
    assert set(stores) == set(WAYS)
    assert stores["whole"].dtype == np.float16
    check_part(stores["whole"], stores["part"])
    metrics = [json.loads(path.read_text()) for path in results.glob("measure/**/test/metrics.json")]
    shares = sorted(found["per_volume"]["share"] for found in metrics)
    assert shares[0] < shares[1] == 1  # of the volume that was measured
    again = snakemake("evaluate", "--configfile", config, "-n")
    assert "Nothing to be done" in again.stdout + again.stderr
    check_network_from_file(snakemake, config, tmp_path, stores["whole"])


def cut(start, stop):
    return tuple(slice(a, b) for a, b in zip(start, stop, strict=True))


def check_part(whole, part):
    """A part of the volume is the whole where it was wanted, bit by bit, and 0 elsewhere."""
    start, stop = np.min([crop[0] for crop in CROPS], 0), np.max([crop[1] for crop in CROPS], 0)
    assert part.shape_zyx == tuple(stop - start)
    wanted = np.zeros(whole.shape_zyx, bool)
    for crop in CROPS:
        wanted[cut(*crop)] = True
    expected = np.where(wanted, whole.read(), 0)[(slice(None), *cut(start, stop))]
    np.testing.assert_array_equal(part.read(), expected)


def check_network_from_file(snakemake, config, tmp_path, whole):
    """A checkpoint of another run predicts without any training, and gives what it gave there."""
    (checkpoint,) = tmp_path.glob("results/train/**/model.ckpt")
    settings = yaml.safe_load(config.read_text())
    way = {**MIRRORED, "predict.checkpoints": [str(checkpoint)]}
    settings["experiments"] = {"file": {"data": "phantom", "train": "demo", "decode": "default", "override": way}}
    settings["results"] = str(tmp_path / "elsewhere")
    path = tmp_path / "file.yaml"
    path.write_text(yaml.safe_dump(settings))
    end = snakemake("segment", "--configfile", path)
    assert end.returncode == 0, end.stderr
    assert not list(tmp_path.glob("elsewhere/train/**/*"))
    (store,) = tmp_path.glob("elsewhere/predict/**/test/affinities.zarr")
    np.testing.assert_array_equal(open_volume(store).read(), whole.read())
