"""Volumes behind URLs, on an S3 server of this machine: headers are read to check them, chunks when asked for."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr

from connectomake.config.settings.data import VolumeSource
from connectomake.errors import ConnectomakeError, DataError, MissingDataError, MissingPackageError
from connectomake.geometry import Box
from connectomake.ingest.checks import check_source
from connectomake.ingest.ingest import ingest_volume
from connectomake.volumes.formats import remote
from connectomake.volumes.formats.ome_zarr import find_levels
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.volume import open_volume

moto = pytest.importorskip("moto.server", reason="moto is not installed: pip install -r requirements-dev.txt")
pytest.importorskip("s3fs", reason="s3fs is not installed: pip install -r requirements.txt")

KEYS = {"AWS_ACCESS_KEY_ID": "ours", "AWS_SECRET_ACCESS_KEY": "secret"}
VALUES = np.arange(40 * 40 * 40, dtype=np.uint8).reshape(40, 40, 40)


def write_image(folder: Path, version: int) -> None:
    """Write an OME-Zarr image of two levels, as public data have it: Zarr 2, or Zarr 3."""
    group = zarr.open_group(folder, mode="w", zarr_format=version)
    inner = group.create_group("em")
    for name, values in (("s0", VALUES), ("s1", VALUES[::2, ::2, ::2])):
        inner.create_array(name, data=values, chunks=(20, 20, 20))
    axes = [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"]
    scales = [{"type": "scale", "scale": [8.0 * f] * 3} for f in (1, 2)]
    levels = [{"path": f"s{i}", "coordinateTransformations": [scale]} for i, scale in enumerate(scales)]
    image = {"multiscales": [{"axes": axes, "datasets": levels}]}
    inner.attrs.update(image if version == 2 else {"ome": image})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve public images of both versions, one without its chunks, one that is not public; give the address."""
    import boto3

    folder = tmp_path_factory.mktemp("bucket")
    for name, version in (("v2.zarr", 2), ("v3.zarr", 3)):
        write_image(folder / name, version)
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="ours",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket="cells", ACL="public-read")
    client.create_bucket(Bucket="closed")
    for file in folder.rglob("*"):
        if file.is_file():
            key, content = file.relative_to(folder).as_posix(), file.read_bytes()
            client.put_object(Bucket="cells", Key=key, Body=content, ACL="public-read")
            client.put_object(Bucket="closed", Key=key, Body=content)
            if file.name.startswith((".z", "zarr.json")):
                client.put_object(Bucket="cells", Key=f"headers/{key}", Body=content, ACL="public-read")
    client.put_object(Bucket="cells", Key="damaged.zarr/.zarray", Body=b"{", ACL="public-read")
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def nobody(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be somebody without credentials."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in remote.CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(remote, "WAITS_S", (0, 0, 0))
    remote._read.cache_clear()


def check(raw: str, folder: str = "", **source: object) -> tuple[int, int, int] | None:
    return check_source(VolumeSource(**{"role": "test", "raw": raw, **source}), folder, "mine.yaml: volumes.a")


@pytest.mark.parametrize("version", [2, 3])
def test_a_volume_is_checked_by_its_headers_alone(version: int) -> None:
    store = f"headers/v{version}.zarr"  # there are no others
    assert check(f"s3://cells/{store}::em/s0") == (40, 40, 40)
    assert check(f"{store}::em/s1", folder="s3://cells") == (20, 20, 20)
    assert check(f"s3://cells/{store}/em/", box_zyx_vx=((0, 0, 0), (9, 9, 9))) == (9, 9, 9)


@pytest.mark.parametrize("version", [2, 3])
def test_ingest_links_it_and_boxes_are_read(tmp_path: Path, version: int) -> None:
    url = f"s3://cells/v{version}.zarr"
    volume_json = tmp_path / "volume.json"
    array = f"{url}::em/s0"
    source = VolumeSource(role="test", raw=array, labels=array, box_zyx_vx=((1, 0, 0), (40, 40, 40)))
    ingest_volume(source, name="a", volume_json=volume_json)
    assert json.loads(volume_json.read_text())["raw"]["source"] == array
    assert [path.name for path in tmp_path.iterdir()] == ["volume.json"]
    volume = IngestedVolume.read(volume_json).open_raw()
    assert volume.voxel_size_zyx_nm == (8.0, 8.0, 8.0)
    box = Box((4, 15, 0), (24, 25, 40))
    np.testing.assert_array_equal(volume.read(box), VALUES[1:][box.slices])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume)).read(box), VALUES[1:][box.slices])
    levels = find_levels(array)
    assert levels is not None
    assert levels.others == {"s1": f"{url}/em::s1"}


def test_a_forked_worker_reads_what_its_parent_opened() -> None:
    volume = open_volume("s3://cells/v3.zarr::em/s1")
    expected = volume.read()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply_async(volume.read).get(timeout=60), expected)


def test_flat_chunks_are_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectomake.ingest.ingest.SMALLEST_LINKED_SIDE_VX", 100)
    monkeypatch.setattr("connectomake.ingest.ingest.LARGEST_LINKED_CHUNK_VX", 1)
    ingest_volume(
        VolumeSource(role="test", raw="s3://cells/v2.zarr::em/s0"), name="a", volume_json=tmp_path / "volume.json"
    )
    np.testing.assert_array_equal(IngestedVolume.read(tmp_path / "volume.json").open_raw().read(), VALUES)


def test_http_is_read_like_s3(server: str) -> None:
    np.testing.assert_array_equal(open_volume(f"{server}/cells/v2.zarr::em/s0").read(), VALUES)
    with pytest.raises(MissingDataError, match="no array 'em/s7'"):
        check(f"{server}/cells/v2.zarr::em/s7")


def test_credentials_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    assert check("s3://closed/v3.zarr::em/s0") == (40, 40, 40)


@pytest.mark.parametrize(
    ("raw", "kind", "message"),
    [
        (
            "s3://calls/v2.zarr",
            MissingDataError,
            r"calls/v2\.zarr.* does not exist .*bucket.*; correct the bucket",
        ),
        (
            "s3://cells/v1.zarr::em/s0",
            MissingDataError,
            r"cells/v1\.zarr does not exist; did you mean v[23]\.zarr\?",
        ),
        (
            "s3://cells/v2.zarr::em/s7",
            MissingDataError,
            r"no array 'em/s7' in .*; it holds em/s0, em/s1; did you mean .*::em/s\d\?",
        ),
        ("s3://cells/v2.zarr", MissingDataError, r"v2\.zarr needs the name of the array .*; it holds em$"),
        ("s3://closed/v2.zarr", DataError, r"access to s3://closed/v2\.zarr is denied .*set AWS_PROFILE, or"),
        ("s3://cells/damaged.zarr", DataError, r"damaged\.zarr/\.zarray is not valid JSON"),
        ("s3://cells/a.h5::raw", DataError, r"a\.h5 cannot be read in parts; expected Zarr"),
        ("s4://em/v2.zarr", DataError, r"s4://em/v2\.zarr.* cannot be used .*expected s3://bucket"),
        ("gs://em/v2.zarr", MissingPackageError, r"package that is not installed .*pip install 'fsspec\[gs\]'"),
        ("http://127.0.0.1:1/v2.zarr", DataError, r"cannot be read \(ClientConnector.*; check the network"),
    ],
)
def test_each_problem_is_one_line_that_says_what_to_do(
    raw: str, kind: type[ConnectomakeError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(kind, match=message) as caught:
        check(raw)
    assert str(caught.value).startswith("mine.yaml: volumes.a: ")
    assert "\n" not in str(caught.value)


def test_skeletons_behind_a_url_are_refused() -> None:
    with pytest.raises(DataError, match=r"not read from s3://cells/a\.npz.*download"):
        check("v2.zarr::em/s0", folder="s3://cells", skeletons="a.npz")


def test_reading_is_tried_again_and_then_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[object] = [OSError("reset"), OSError("reset"), VALUES]

    class Flaky:
        def __getitem__(self, part: object) -> np.ndarray:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return np.asarray(answer)

    monkeypatch.setattr(remote, "open_remote", lambda url: Flaky())
    assert remote.read_remote("s3://cells/a", (slice(0, 1),)) is not None
    answers[:] = [OSError("reset")] * 4
    with pytest.raises(DataError, match=r"s3://cells/a cannot be read \(OSError: reset\)"):
        remote.read_remote("s3://cells/a", (slice(0, 1),))
    answers[:] = [PermissionError("no")]
    with pytest.raises(DataError, match="denied"):
        remote.read_remote("s3://cells/a", (slice(0, 1),))
    assert not answers


def test_paths_of_this_machine_load_nothing_for_urls(tmp_path: Path) -> None:
    write_image(tmp_path / "a.zarr", 3)
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2] / "scripts")!r})
import connectomake.sources
assert not {{"numpy", "fsspec"}} & set(sys.modules)
from connectomake.config.settings.data import VolumeSource
from connectomake.ingest.checks import check_source
check_source(VolumeSource(role="test", raw="a.zarr::em/s0"), {str(tmp_path)!r}, "key")
assert not {{"s3fs", "aiohttp", "botocore"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow("starts Snakemake")
def test_snakemake_plans_it_without_a_file_to_wait_for(project: Path, tmp_path: Path) -> None:
    volume = {"raw": "v2.zarr::em/s0", "labels": "v2.zarr::em/s0", "box_zyx_vx": [[0] * 3, [40] * 3]}
    volume["voxel_size_zyx_nm"] = [8, 8, 8]
    changes = {"folder": "s3://cells", "volumes": {"train": volume, "validate": volume}}
    network = {"patch_zyx_vx": [32] * 3, "model.stem_factor": 1}
    override = {f"data.{key}": value for key, value in changes.items()}
    override |= {f"train.{key}": value for key, value in network.items()}
    config = {"experiments": {"mine": {"data": "fib25", "train": "demo"}}, "override": override}
    (tmp_path / "config.yaml").write_text(json.dumps({**config, "results": str(tmp_path / "results")}))
    command = [sys.executable, "-m", "snakemake", "-n", "--configfile", str(tmp_path / "config.yaml")]
    told = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    assert "ingest_volume" in told.stdout
