"""The server gives ranges, CORS headers and nothing that lies outside; volumes come out as they are."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from math import ceil
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from small_volume import write_description

from connectomake.errors import ConfigError, MissingDataError
from connectomake.files import write_json
from connectomake.geometry import Box
from connectomake.view import routes
from connectomake.view.routes import OWN_CLIENT, PUBLIC_CLIENT, split_path
from connectomake.view.server import ResultsServer, make_server, parse_range
from connectomake.volumes.ingested import IngestedVolume
from connectomake.volumes.store import write_store
from connectomake.volumes.volume import open_volume

SERVE = Path(__file__).parents[2] / "scripts" / "serve_volumes.py"
VOXEL_NM = (30.0, 8.0, 4.0)
OFFSET_NM = (1003.0, 52.0, -37.0)
SHAPE = (5, 70, 66)


@pytest.fixture
def results(tmp_path) -> Path:
    folder = tmp_path / "results"
    values = np.arange(np.prod(SHAPE), dtype=np.uint32).reshape(SHAPE)
    write_store(folder / "decode" / "a@b=1,c" / "labels.zarr", values, voxel_size_zyx_nm=VOXEL_NM)
    (folder / "train").mkdir()
    (folder / "train" / "model.ckpt").write_bytes(b"weights")
    (tmp_path / "secret.zarr").mkdir()
    (tmp_path / "secret.zarr" / "zarr.json").write_text("secret")
    return folder


@pytest.fixture
def server(results):
    with make_server(results, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Reply:
    """An answer of the server."""

    def __init__(self, reply: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = reply.status, reply.headers, reply.read()


def ask(server: ResultsServer, path: str, method: str = "GET", **headers: str) -> Reply:
    """Ask for a path exactly as it is written, dots and all."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    try:
        connection.request(method, path, headers=headers)
        return Reply(connection.getresponse())
    finally:
        connection.close()


def describe(folder: Path, parts: dict[str, tuple[str, str]], box_zyx_vx=((0, 0, 0), SHAPE)) -> Path:
    """Write a volume.json that names files of any format by source and axes."""
    box = Box(*box_zyx_vx)
    entries = {
        name: {"source": source, "axes": axes, "box_zyx_vx": [box.start_zyx, box.stop_zyx], "dtype": ""}
        for name, (source, axes) in parts.items()
    }
    place = {"shape_zyx": box.shape_zyx, "voxel_size_zyx_nm": VOXEL_NM, "offset_zyx_nm": OFFSET_NM}
    path = folder / "volume.json"
    return write_description(path, {"name": "v", **place, **entries})


def download(server: ResultsServer, path: str, folder: Path) -> Path:
    """Fetch every key of a virtual store, and nothing beyond its last chunks."""
    metadata = ask(server, f"{path}/s0/zarr.json")
    described = json.loads(metadata.body)
    chunk = described["chunk_grid"]["configuration"]["chunk_shape"]
    counts = [ceil(n / c) for n, c in zip(described["shape"], chunk, strict=True)]
    keys = ["/".join(map(str, ["s0/c", *index])) for index in itertools.product(*map(range, counts))]
    for key in ["zarr.json", "s0/zarr.json", *keys]:
        reply = ask(server, f"{path}/{key}")
        assert reply.status == 200
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(reply.body)
    assert ask(server, f"{path}/s0/c/" + "/".join(map(str, counts))).status == 404
    return folder


def write_source(folder: Path, kind: str, values: np.ndarray) -> tuple[str, str]:
    """Write an array in some format; give the source and the axes that name it."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "tiff":
        tifffile.imwrite(folder / "v.tif", values)
        return str(folder / "v.tif"), "zyx"
    if kind == "zarr":
        zarr.save_array(folder / "v.zarr", values)
        return str(folder / "v.zarr"), "zyx"
    with h5py.File(folder / "v.h5", "w") as file:
        file["v"] = values.T if kind == "xyz" else values
    return str(folder / "v.h5::v"), "xyz" if kind == "xyz" else "czyx"[-values.ndim :]


@pytest.mark.parametrize("kind", ["hdf5", "tiff", "zarr", "xyz"])
def test_raw_data_of_any_format_come_out_as_zarr(server, results, tmp_path, kind):
    values = np.random.default_rng(0).integers(0, 2**16, SHAPE).astype(np.uint16)
    source = write_source(tmp_path / "elsewhere", kind, values)
    box = ((1, 3, 1), (5, 70, 66)) if kind in ("zarr", "xyz") else ((0, 0, 0), SHAPE)
    described = describe(results / "ingest" / "mine" / "v", {"raw": source}, box)
    fetched = download(server, "/ingest/mine/v/raw", tmp_path / "fetched")
    expected = IngestedVolume.read(described).open_raw()
    there = open_volume(fetched)
    np.testing.assert_array_equal(there.read(), expected.read())
    np.testing.assert_array_equal(there.read(), values[Box(*box).slices])
    assert there.dtype == np.uint16
    assert (there.voxel_size_zyx_nm, there.offset_zyx_nm) == (VOXEL_NM, OFFSET_NM)


@pytest.mark.parametrize(("dtype", "served"), [("f8", "f4"), ("?", "u1"), ("f4", "f4"), ("i2", "i2")])
def test_raw_data_are_served_in_types_that_the_client_knows(server, results, tmp_path, dtype, served):
    values = np.random.default_rng(0).integers(-3, 4, (2, *SHAPE)).astype(dtype)
    describe(results / "x", {"raw": write_source(tmp_path / "elsewhere", "hdf5", values)})
    there = zarr.open_array(download(server, "/x/raw", tmp_path / "fetched") / "s0", mode="r")
    assert there.dtype == np.dtype(served)
    assert there.chunks == (1, 64, 64, 64)
    np.testing.assert_array_equal(there[...], values)


def test_unknown_labels_are_served_as_background(server, results, tmp_path):
    values = np.random.default_rng(0).integers(-1, 2**60, SHAPE)
    values[0, :2] = -1
    source = write_source(tmp_path / "elsewhere", "zarr", values)
    described = describe(results / "x", {"labels": source})
    there = zarr.open_array(download(server, "/x/labels", tmp_path / "fetched") / "s0", mode="r")
    assert there.dtype == np.uint64
    np.testing.assert_array_equal(
        there[...], np.maximum(IngestedVolume.read(described).open_labels().read(), 0).astype(np.uint64)
    )


def test_a_volume_is_opened_anew_where_its_description_changes(server, results, tmp_path):
    for value in (1, 2):
        source = write_source(tmp_path / f"{value}", "hdf5", np.full(SHAPE, value, np.uint8))
        os.utime(describe(results / "x", {"raw": source}), ns=(value, value))
        assert ask(server, "/x/raw/s0/c/0/0/0").body[0] == value


def test_a_volume_whose_file_is_gone_says_so(server, results):
    describe(results / "x", {"raw": ("/nowhere.h5::v", "zyx")})
    reply = ask(server, "/x/raw/zarr.json")
    assert reply.status == 404
    assert b"nowhere.h5 does not exist" in reply.body


@pytest.mark.parametrize("key", ["s1/zarr.json", "s0/c/0/0", "s0/c/0/0/-1", "s0/c/0/0/0/0", "zgroup", "s0/c/0/0/x"])
def test_a_virtual_store_holds_nothing_else(server, results, tmp_path, key):
    describe(results / "x", {"raw": write_source(tmp_path / "e", "tiff", np.zeros(SHAPE, np.uint8))})
    assert ask(server, f"/x/raw/{key}").status == 404


STORE = "/decode/a%40b%3D1%2Cc/labels.zarr/s0/c/0/0/0"


@pytest.fixture
def shard(results) -> bytes:
    return next((results / "decode").rglob("c/0/0/0")).read_bytes()


@pytest.mark.parametrize(
    "asked", ["bytes=0-0", "bytes=3-9", "bytes=100-", "bytes=-16", "bytes=-999999999", "bytes=5-999999999"]
)
def test_ranges_of_a_shard(server, shard, asked):
    size = len(shard)
    first, last = asked.removeprefix("bytes=").split("-")
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    reply = ask(server, STORE, Range=asked)
    assert reply.status == 206
    assert reply.body == shard[start:stop]
    assert reply.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    assert reply.headers["Content-Length"] == str(stop - start)


@pytest.mark.parametrize("asked", [None, "bytes=9-3", "bytes=0-1,4-5", "lines=1-2", "bytes=-", "bytes=a-b"])
def test_what_is_no_single_range_gets_the_whole(server, shard, asked):
    reply = ask(server, STORE, **({"Range": asked} if asked else {}))
    assert (reply.status, reply.body) == (200, shard)


@pytest.mark.parametrize("asked", ["bytes=999999999-", "bytes=-0"])
def test_a_range_that_does_not_exist_is_refused(server, shard, asked):
    reply = ask(server, STORE, Range=asked)
    assert (reply.status, reply.body) == (416, b"")
    assert reply.headers["Content-Range"] == f"bytes */{len(shard)}"


def test_ranges_of_nothing():
    assert parse_range("bytes=-5", 0) == range(0)
    assert not parse_range("bytes=0-", 0)
    assert parse_range(None, 0) is None


def test_head_tells_the_length_alone(server, shard):
    reply = ask(server, STORE, "HEAD")
    assert (reply.status, reply.body, reply.headers["Content-Length"]) == (200, b"", str(len(shard)))
    assert reply.headers["Accept-Ranges"] == "bytes"
    assert ask(server, f"{STORE}9", "HEAD").status == 404


def test_one_connection_serves_many_requests(server, shard):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    for method, path in (
        ("HEAD", STORE),
        ("GET", "/nothing"),
        ("OPTIONS", STORE),
        ("HEAD", "/nothing"),
        ("GET", STORE),
    ):
        connection.request(method, path)
        body = connection.getresponse().read()
    connection.close()
    assert body == shard


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", STORE, 200), ("OPTIONS", STORE, 204), ("GET", "/no", 404)]
)
def test_pages_of_other_sites_may_read(server, method, path, status):
    wants = {"Origin": "https://other.example", "Access-Control-Request-Private-Network": "true"}
    reply = ask(server, path, method, **wants)
    assert reply.status == status
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "Range" in reply.headers["Access-Control-Allow-Headers"]
    assert "Content-Range" in reply.headers["Access-Control-Expose-Headers"]
    assert reply.headers["Access-Control-Allow-Private-Network"] == "true"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(server, results, method):
    before = sorted(results.rglob("*"))
    assert ask(server, STORE, method).status == 501
    assert sorted(results.rglob("*")) == before


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.zarr/zarr.json",
        "/decode/../../secret.zarr/zarr.json",
        "/%2e%2e/secret.zarr/zarr.json",
        "/..%2fsecret.zarr%2fzarr.json",
        "/%252e%252e/secret.zarr/zarr.json",
        "/..\\secret.zarr\\zarr.json",
        "{outside}/secret.zarr/zarr.json",
        "/{outside}/secret.zarr/zarr.json",
        "/%00/secret.zarr/zarr.json",
        "/decode/link.zarr/zarr.json",
        "/decode/file.zarr/zarr.json",
        "/client/v/results/..%2f__init__.py",
        "/",
        "/decode/a%40b%3D1%2Cc/labels.zarr/",
        "/decode/a%40b%3D1%2Cc/labels.zarr",
        "/train/model.ckpt",
    ],
)
def test_nothing_outside_the_stores_is_served(server, results, tmp_path, path):
    (results / "decode" / "link.zarr").symlink_to(tmp_path / "secret.zarr")
    (results / "decode" / "file.zarr").mkdir()
    (results / "decode" / "file.zarr" / "zarr.json").symlink_to(tmp_path / "secret.zarr" / "zarr.json")
    reply = ask(server, path.format(outside=tmp_path))
    assert reply.status == 404
    assert b"secret" not in reply.body.replace(b"secret.zarr", b"")


def test_a_stage_may_lie_on_another_disk(results, tmp_path):
    (tmp_path / "disk" / "x.zarr").mkdir(parents=True)
    (tmp_path / "disk" / "x.zarr" / "zarr.json").write_text("{}")
    (results / "predict").symlink_to(tmp_path / "disk")
    site = routes.Site(results)
    assert site.find("/predict/x.zarr/zarr.json") is not None
    assert site.find("/predict/../../secret.zarr/zarr.json") is None


def test_paths_are_split_once_decoded():
    assert split_path("/a/b%20c/?x=1#y") == ["a", "b c"]
    assert split_path("/a//b") is None


def test_a_state_names_the_address_that_it_was_reached_at(server, results):
    state = {"layers": [{"source": "zarr3://http://127.0.0.1:9000/x/raw/"}, {"source": "local://annotations"}]}
    write_json(results / "report" / "view" / "a" / "state.json", state)
    sources = [layer["source"] for layer in json.loads(ask(server, "/report/view/a/state.json").body)["layers"]]
    assert sources == [f"zarr3://{server.address}/x/raw/", "local://annotations"]
    assert server.site.views() == ["report/view/a/state.json"]


def test_links_lead_to_the_client_of_the_package(results, tmp_path, monkeypatch):
    (tmp_path / "index.html").write_text('<html><head><script src="main.js"></script></head></html>')
    (tmp_path / "main.js").write_text("1")
    monkeypatch.setattr(routes, "find_client", lambda: tmp_path)
    site = routes.Site(results)
    assert f'location.replace("{OWN_CLIENT}/" + location.hash)'.encode() in site.find("/open").body
    page = site.find(f"{OWN_CLIENT}/")
    assert page.body.index(b"EventSource") < page.body.index(b"main.js")
    assert site.find(f"{OWN_CLIENT}/main.js").kind == "text/javascript"
    assert site.find(f"{OWN_CLIENT}/main.css") is None
    assert site.find("/client/main.js") is None


def test_links_lead_elsewhere_without_the_package_or_when_told(results, monkeypatch):
    monkeypatch.setattr(routes, "find_client", lambda: None)
    assert f'"{PUBLIC_CLIENT}/"'.encode() in routes.Site(results).find("/open").body
    assert routes.Site(results).find(f"{OWN_CLIENT}/") is None
    assert b'"https://mine.example/ng/"' in routes.Site(results, "https://mine.example/ng/").find("/open").body
    assert b"<x" not in routes.Site(results, "<x").find("/open").body


def test_a_port_in_use_is_one_clear_line(server, results):
    port = server.server_address[1]
    with pytest.raises(ConfigError, match=rf"port {port} of 127.0.0.1 is in use; .* --port {port + 1}"):
        make_server(results, port=port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("no.such.host.invalid", 0)])
def test_an_address_that_cannot_be_listened_at(results, host, port):
    with pytest.raises(ConfigError, match="cannot listen at"):
        make_server(results, host=host, port=port)


def test_no_results_is_an_error(tmp_path):
    with pytest.raises(MissingDataError, match="no folder"):
        make_server(tmp_path / "nothing", port=0)


def test_the_command_ends_quietly(results):
    write_json(results / "report" / "view" / "a b" / "state.json", {})
    command = [sys.executable, str(SERVE), "--results", str(results), "--port", "0"]
    # A shell lets what it starts in the background ignore Ctrl-C, and children inherit that.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as process:
        lines = iter(process.stderr.readline, "")
        link = next(line for line in lines if "open#!" in line)
        process.send_signal(signal.SIGINT)
        rest = list(lines)
    assert link.strip().endswith("/report/view/a%20b/state.json")
    assert process.returncode == 0
    assert [line.split(": ")[-1] for line in rest] == ["stopped\n"]
