"""Check, by headers alone, that the files of a volume exist and fit together: fast enough to do before every run."""

from __future__ import annotations

from pathlib import Path

from connectomake.config.settings.data import FROM_LABELS, VolumeSource
from connectomake.errors import ConnectomakeError, DataError, MissingDataError
from connectomake.geometry import Box, Triple
from connectomake.ingest.content import check_labels_type, check_raw_type
from connectomake.sources import expand, is_remote, locate
from connectomake.volumes.axes import same_place, same_size
from connectomake.volumes.formats import nearest_folder
from connectomake.volumes.volume import Volume, open_volume

SKELETON_SUFFIXES = (".npz", ".swc", ".pkl", ".pickle")
SKELETON_FORMATS = "skeletons: .npz, .swc, a folder of .swc, or NISB's .pkl"


def check_source(source: VolumeSource, folder: str, key: str, *, missing: str = "") -> Triple | None:
    """Check one volume of a data config; a phantom, which is generated, has nothing to check.

    Of a crop of the CellMap challenge, only the folders are looked for: what is in them is checked when it is read.

    Parameters
    ----------
    source
        The volume.
    folder
        Where its relative paths start; '' = the working directory.
    key
        What an error calls the place, as in ``config/data/fib25.yaml: volumes.left``.
    missing
        What the config says to do when the folder does not exist.

    Returns
    -------
    tuple of int or None
        The shape that the volume will have, z, y, x in voxels; None for a phantom and for a crop.

    Raises
    ------
    MissingDataError
        A file, folder, or dataset does not exist.
    DataError
        Rank, type, shape, voxel size, position or box do not fit.
    """
    if source.raw is None:
        return None
    try:
        check_folder(folder, missing)
        if source.crop is not None:
            find_groups(source, folder)
            return None
        images, _ = open_pair(source, folder)
        _check_skeletons(source.skeletons, folder)
    except ConnectomakeError as error:
        raise type(error)(f"{key}: {error}") from error
    return images.shape_zyx


def check_folder(folder: str, missing: str) -> None:
    """Describe what to do, in the words of the data config, where its folder does not exist."""
    folder = expand(folder)
    if folder and not is_remote(folder) and not Path(folder).is_dir():
        raise MissingDataError(
            f"the folder {folder} does not exist",
            hint=missing or "correct the key folder, or get the data there",
        )


def open_pair(
    source: VolumeSource, folder: str = "", *, raw: Path | None = None, labels: Path | None = None
) -> tuple[Volume, Volume | None]:
    """Open raw data and labels of a volume, cropped to its box, after all checks that headers allow.

    Parameters
    ----------
    source
        The volume.
    folder
        Where its relative paths start.
    raw, labels
        Paths to use instead, for volumes that were generated.

    Returns
    -------
    raw : Volume
        Without channel axis where there is one channel.
    labels : Volume or None
        Of the same shape, voxel size and position.

    Raises
    ------
    MissingDataError, DataError
        See `check_source`.
    """
    raw_path = str(raw) if raw is not None else locate(source.raw or "", folder)
    labels_path = str(labels) if labels is not None else source.labels and locate(source.labels, folder)
    images = _open(source, raw_path)
    check_raw_type(images)
    if not labels_path:
        return _crop(images, source), None
    objects = _open(source, labels_path, like=images)
    check_labels_type(objects)
    images, objects = _crop(images, source), _crop(objects, source)
    check_pair(images, objects)
    return images, objects


def find_groups(source: VolumeSource, folder: str = "") -> tuple[Path, Path | None]:
    """Find the Zarr groups of a crop's images and labels; only whether the folders exist is looked at.

    Parameters
    ----------
    source
        A crop of the CellMap challenge.
    folder
        Where its relative paths start.

    Raises
    ------
    MissingDataError
        A folder does not exist.
    """
    images = Path(locate(source.raw or "", folder))
    labels = Path(locate(source.labels, folder)) if source.labels is not None else None
    for what, group in (("images", images), ("labels", labels)):
        if group is not None and not group.is_dir():
            hint = f"{nearest_folder(group)}; `csc fetch-data` of the challenge's toolbox downloads crops"
            raise MissingDataError(f"the {what} of {source.crop} do not exist: no folder {group}", hint=hint)
    return images, labels


def check_pair(raw: Volume, labels: Volume) -> None:
    """Reject labels that do not lie on their raw data voxel by voxel.

    Raises
    ------
    DataError
        Shape, voxel size or position differ.
    """
    names = f"the labels {labels.source} do not lie on the raw data {raw.source}"
    if raw.shape_zyx != labels.shape_zyx:
        raise DataError(
            f"{names}: their shapes differ",
            expected=f"{raw.shape_zyx} (z, y, x)",
            got=labels.shape_zyx,
            hint="cut the larger one to the smaller, or correct the paths or axes",
        )
    if not same_size(labels.voxel_size_zyx_nm, raw.voxel_size_zyx_nm):
        raise DataError(
            f"{names}: their voxel sizes differ",
            expected=f"{raw.voxel_size_zyx_nm} nm (z, y, x)",
            got=labels.voxel_size_zyx_nm,
            hint="take the level of the raw data that the labels were drawn on",
        )
    if not same_place(labels.offset_zyx_nm, raw.offset_zyx_nm, raw.voxel_size_zyx_nm):
        raise DataError(
            f"{names}: their positions differ",
            expected=f"{raw.offset_zyx_nm} nm (z, y, x)",
            got=labels.offset_zyx_nm,
            hint="cut the raw data to where the labels begin, or correct the offset in the file",
        )


def _open(source: VolumeSource, path: str, like: Volume | None = None) -> Volume:
    """Open one of a volume's files, all of it, as the config says."""
    size, offset = source.voxel_size_zyx_nm, source.offset_zyx_nm
    volume = open_volume(path, axes=source.axes, voxel_size_zyx_nm=size, offset_zyx_nm=offset, like=like)
    if not volume.box.size or not volume.channels:
        raise DataError(f"{path} is empty", expected="at least one voxel", got=f"shape {volume.shape}")
    return volume.drop_single_channel()


def _crop(volume: Volume, source: VolumeSource) -> Volume:
    return volume if source.box_zyx_vx is None else volume.crop(Box(*source.box_zyx_vx))


def _check_skeletons(skeletons: str | None, folder: str) -> None:
    if skeletons is None or skeletons == FROM_LABELS:
        return
    located = locate(skeletons, folder)
    if is_remote(located):
        raise DataError(f"skeletons are not read from {located}", expected="a file here", hint="download them")
    path = Path(located)
    if not path.exists():
        raise MissingDataError(f"{path} does not exist", expected=SKELETON_FORMATS)
    if path.is_file() and path.suffix.lower() not in SKELETON_SUFFIXES:
        raise DataError(f"{path} is in a format that is not known", expected=SKELETON_FORMATS)
