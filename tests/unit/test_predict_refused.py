"""Jobs that cannot go on say why, and keep what was done."""

import errno
import os

import numpy as np
import pytest
import torch
from small_prediction import (
    blocks_of,
    change,
    draw_raw,
    make_meta,
    plan,
    predict,
    read,
    run_jobs,
    write_checkpoint,
    write_volume,
)
from torch import nn

from connectomake.errors import ConnectomakeError, DataError, MissingDataError, ModelError, ResumeMismatchError
from connectomake.ledger import Ledger
from connectomake.models.checkpoint import load_checkpoint
from connectomake.predict import job as job_module
from connectomake.predict.finish import finish_prediction
from connectomake.predict.network import members
from connectomake.volumes.pyramid import Pyramid


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    return write_volume(tmp_path_factory.mktemp("ingest"), draw_raw())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return [write_checkpoint(tmp_path_factory.mktemp("train") / "model.ckpt")]


@pytest.fixture
def use_network(monkeypatch):
    """Put another network into the checkpoint, between plan and job."""

    def use(network):
        real = load_checkpoint
        monkeypatch.setattr(members, "load_checkpoint", lambda path: (network.eval(), real(path)[1]))

    return use


class Failing(nn.Module):
    """Gives NaN from the 31st window on."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return torch.cat([x, -x, x, -x], 1) * (1.0 if self.calls <= 30 else float("nan"))


def test_nan_names_the_block_and_keeps_what_was_done(tmp_path, volume, trained, use_network):
    store = tmp_path / "a.zarr"
    planned = plan(volume, trained, store)
    use_network(Failing())
    with pytest.raises(ModelError, match=r"block \d+ \(from .* of .*raw\.zarr.*NaN"):
        run_jobs(planned, volume, trained, store)
    done = Ledger.open(store / "ledger").done()
    assert done
    assert done == set(blocks_of(0, 1)[: len(done)])


def test_zeros_where_raw_is_not_constant_are_told(tmp_path, volume, trained, use_network, caplog):
    class Nothing(nn.Module):
        def forward(self, x):
            return torch.full((len(x), 4, *x.shape[2:]), -1e4)

    planned = plan(volume, trained, tmp_path / "a.zarr")
    flat = write_volume(tmp_path / "flat", np.full((20, 40, 36), 7, np.uint8))
    planned_flat = plan(flat, trained, tmp_path / "b.zarr")
    use_network(Nothing())
    run_jobs(planned, volume, trained, tmp_path / "a.zarr")
    assert "nothing but zeros" in caplog.text
    caplog.clear()
    run_jobs(planned_flat, flat, trained, tmp_path / "b.zarr")
    assert "nothing but zeros" not in caplog.text


def test_a_full_disk_leaves_the_block_unmarked(tmp_path, volume, trained, monkeypatch):
    store, left = tmp_path / "a.zarr", iter([True, True])
    real = Pyramid.write_block

    def write_block(self, box, values):
        if not next(left, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, box, values)

    with monkeypatch.context() as patch:
        patch.setattr(Pyramid, "write_block", write_block)
        with pytest.raises(DataError, match=r"no room left to write .*a\.zarr.* free"):
            predict(volume, trained, store)
    assert Ledger.open(store / "ledger").done() == set(blocks_of(0, 1)[:2])
    finish_prediction(predict(volume, trained, store), store)
    predict(volume, trained, tmp_path / "b.zarr")
    np.testing.assert_array_equal(read(store), read(tmp_path / "b.zarr"))


def test_a_folder_that_cannot_be_made_is_said(tmp_path, volume, trained):
    planned = plan(volume, trained, tmp_path / "a.zarr")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"could not write .*file.*check the folder's permissions"):
        run_jobs(planned, volume, trained, tmp_path / "file" / "a.zarr")


def test_too_small_a_gpu_is_said(tmp_path, volume, trained, use_network):
    class Large(nn.Module):
        def forward(self, x):
            raise torch.OutOfMemoryError("no room")

    planned = plan(volume, trained, tmp_path / "a.zarr")
    use_network(Large())
    with pytest.raises(ConnectomakeError, match=r"block 0 .*use a smaller predict\.block_zyx_vx"):
        run_jobs(planned, volume, trained, tmp_path / "a.zarr")


def test_another_checkpoint_than_planned_is_refused(tmp_path, volume, trained):
    store = tmp_path / "a.zarr"
    planned = plan(volume, trained, store)
    other = [write_checkpoint(tmp_path / "other.ckpt", seed=5)]
    with pytest.raises(ResumeMismatchError, match=r"other\.ckpt: not what .*plan\.json.*give .* back, or remove"):
        run_jobs(planned, volume, other, store)
    with pytest.raises(ResumeMismatchError, match=r"expected 1 with .* got 2 with"):
        run_jobs(planned, volume, trained + other, store)
    assert not store.exists()


def test_another_volume_than_planned_is_refused_and_a_moved_one_is_not(tmp_path, trained):
    store = tmp_path / "a.zarr"
    volume = write_volume(tmp_path / "in", draw_raw())
    planned = plan(volume, trained, store)
    run_jobs(planned, volume, trained, store, jobs=2, order=[0])
    moved = (tmp_path / "in").rename(tmp_path / "moved") / "volume.json"
    run_jobs(planned, moved, trained, store, jobs=2, order=[1])
    write_volume(tmp_path / "moved", draw_raw()[::-1])
    with pytest.raises(ResumeMismatchError, match=r"voxels of .*volume\.json are not those .*plan_prediction again"):
        run_jobs(planned, moved, trained, store)


def test_a_plan_of_other_settings_does_not_go_on_with_a_store(tmp_path, volume, trained):
    store = tmp_path / "a.zarr"
    other = plan(volume, trained, tmp_path / "b.zarr", change(overlap=0.25))
    predict(volume, trained, store, jobs=9, order=[0])
    with pytest.raises(ResumeMismatchError, match=r"overlap was 0\.5, is now 0\.25.*snakemake purge"):
        run_jobs(other, volume, trained, store)


def test_a_job_without_plan_and_a_job_that_there_is_not(tmp_path, volume, trained):
    with pytest.raises(MissingDataError, match=r"plan\.json"):
        run_jobs(tmp_path / "plan.json", volume, trained, tmp_path / "a.zarr")
    planned = plan(volume, trained, tmp_path / "a.zarr")
    with pytest.raises(DataError, match="no such job; expected 0 to 1; got 2"):
        job_module.predict_blocks(planned, volume, trained, tmp_path / "a.zarr", change(), job=2, jobs=2)
    assert not (tmp_path / "a.zarr").exists()


def test_unfinished_predictions_are_not_finished(tmp_path, volume, trained):
    store = tmp_path / "a.zarr"
    markers = predict(volume, trained, store, jobs=3, order=[0, 2])
    markers[1].write_text(markers[0].read_text())
    missing = ", ".join(map(str, sorted(blocks_of(1, 3))))
    with pytest.raises(DataError, match=rf"lacks 6 of 18 blocks \({missing}\).* for the jobs of these blocks: 1"):
        finish_prediction(markers, store)
    assert not (store / "zarr.json").exists()


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_broken_checkpoint_is_said_before_anything_is_made(tmp_path, volume, damage):
    broken, store = write_checkpoint(tmp_path / "model.ckpt"), tmp_path / "a.zarr"
    planned = plan(volume, [broken], store)
    if damage == "cut":
        broken.write_bytes(broken.read_bytes()[:2000])
    else:
        broken.unlink()
    with pytest.raises(ConnectomakeError, match=r"model\.ckpt.*(train a model first|give the model\.ckpt)"):
        run_jobs(planned, volume, [broken], store)
    assert not store.exists()
    assert make_meta().in_channels == 1
