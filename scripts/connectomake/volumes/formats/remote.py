"""Zarr stores on S3, HTTP and whatever else fsspec reaches: a header or a chunk is fetched when it is asked for.

S3 is read as anybody may read public data, unless the environment names credentials. `AWS_ENDPOINT_URL` names a server
that is not Amazon's. Other storage takes its options from fsspec's own configuration (``FSSPEC_GS_TOKEN``, ...).
"""

from __future__ import annotations

import json
import logging
import os
import time
import zlib
from dataclasses import dataclass
from functools import lru_cache
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any

from connectomake.errors import ConnectomakeError, DataError, MissingDataError, MissingPackageError
from connectomake.sources import is_remote

log = logging.getLogger(__name__)

CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
HEADERS = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
DAMAGE = (RuntimeError, ValueError, EOFError, zlib.error, LZMAError)
WAITS_S = (1, 4, 16)


@dataclass(frozen=True)
class RemotePath:
    """A file or folder in remote storage, with what the reader of Zarr uses of `pathlib.Path`.

    Parameters
    ----------
    url
        Without a slash at its end.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url}/{name.strip('/')}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        """The folder that it is in; a bucket or a server is in itself."""
        above = self.url.rpartition("/")[0]
        return self if above.endswith(":/") else RemotePath(above)

    def relative_to(self, folder: RemotePath) -> PurePosixPath:
        """Return the way from a folder that it is in."""
        return PurePosixPath(self.url.removeprefix(folder.url).strip("/"))

    def is_file(self) -> bool:
        """Return whether there is a file that may be read."""
        return isinstance(_read(self.url), bytes)

    def is_dir(self) -> bool:
        """Return whether there is a Zarr array or group."""
        return any((self / name).is_file() for name in HEADERS)

    def read_json(self) -> Any:
        """Read a file that is there.

        Raises
        ------
        DataError
            It is not JSON.
        """
        try:
            return json.loads(_read(self.url))  # type: ignore[arg-type]
        except ValueError as error:
            raise DataError(f"{self} is not valid JSON ({error})", hint="is the copy in that storage whole?") from error

    def folders(self) -> list[RemotePath]:
        """List the folders in it, as far as the storage tells: many servers list nothing."""
        try:
            entries = _file_system(self.url).ls(self.url, detail=True)
        except ConnectomakeError:
            raise
        except Exception:  # each storage refuses in its own way; a list only makes a message better
            return []
        names = [e["name"].rstrip("/").rpartition("/")[2] for e in entries if e["type"] == "directory"]
        return [self / name for name in sorted(names)]

    def refuse_absent(self) -> None:
        """Describe why nothing can be read here, where nothing can.

        Raises
        ------
        DataError
            Access is denied.
        MissingDataError
            Nothing is there.
        """
        if self.is_dir():
            return
        found = [_read((self / name).url) for name in HEADERS]
        denied = next((refusal for refusal in found if isinstance(refusal, PermissionError)), None)
        if denied is not None:
            raise explain(self.url, denied)
        if self.folders():
            return
        from connectomake.volumes.formats.finding import explain_missing_folder

        raise MissingDataError(explain_missing_folder(self.url, [folder.name for folder in self.parent.folders()]))


Place = Path | RemotePath


def place_of(source: str) -> Place:
    """Return a path of this machine, or a place in remote storage."""
    return RemotePath(source.rstrip("/")) if is_remote(source) else Path(source)


def open_remote(url: str) -> Any:
    """Open a remote array with zarr, once in each process: connections do not outlive a fork."""
    return _open(url, os.getpid())


def read_remote(url: str, part: tuple[slice, ...]) -> Any:
    """Read a part of a remote array; try again where the storage fails for a moment.

    Parameters
    ----------
    url
        The array.
    part
        One slice per axis.

    Raises
    ------
    DataError
        The storage refused, or failed four times within half a minute.
    """
    waits_s = list(WAITS_S)
    while True:
        try:
            return open_remote(url)[part]
        except DAMAGE:
            raise
        except Exception as error:  # each storage has a tree of errors of its own
            if not waits_s or not _may_pass(error):
                raise explain(url, error) from error
            log.warning("%s: %s: %s; trying again in %d s", url, type(error).__name__, error, waits_s[0])
            time.sleep(waits_s.pop(0))


def explain(url: str, error: Exception) -> DataError:
    """Make of what a storage raises an error that says what to do."""
    if _is_denial(error):
        return DataError(f"access to {url} is denied ({_text(error)})", hint=_what_to_sign_in_with(url))
    if isinstance(error, FileNotFoundError):
        return MissingDataError(f"{url} does not exist ({_text(error)})", hint="correct the bucket, server or path")
    hint = "check the network and the address"
    if url.startswith("s3"):
        hint += "; AWS_ENDPOINT_URL names a server that is not Amazon's"
    return DataError(f"{url} cannot be read ({type(error).__name__}: {_text(error)})", hint=hint)


@lru_cache(maxsize=1024)
def _open(url: str, process: int) -> Any:
    import zarr
    from zarr.storage import FsspecStore

    return zarr.open_array(FsspecStore.from_url(url, storage_options=_options(url), read_only=True), mode="r")


@lru_cache(maxsize=1024)
def _read(url: str) -> bytes | OSError:
    """Return what a small file holds, or that it is absent or denied; kept, since headers are asked for repeatedly."""
    file_system = _file_system(url)
    try:
        return bytes(file_system.cat_file(url))
    except Exception as error:  # each storage has a tree of errors of its own
        if _is_denial(error):
            return PermissionError(_text(error))
        if isinstance(error, FileNotFoundError | IsADirectoryError) and "specified bucket" not in _text(error):
            return FileNotFoundError(url)
        raise explain(url, error) from error


def _file_system(url: str) -> Any:
    """Return the file system of a URL, and say which package is missing for it."""
    try:
        from fsspec import url_to_fs

        return url_to_fs(url, **_options(url))[0]
    except ImportError as error:
        scheme = url.partition("://")[0].replace("s3a", "s3")
        raise MissingPackageError(
            f"{url} needs a package that is not installed ({error})", hint=f"pip install 'fsspec[{scheme}]'"
        ) from error
    except ValueError as error:
        raise DataError(
            f"the address {url} cannot be used ({error})",
            expected="s3://bucket/store.zarr, https://server/store.zarr, or another scheme of fsspec",
        ) from error


def _options(url: str) -> dict[str, Any]:
    """Return the options of a URL's file system: S3 is signed for only where the environment names credentials."""
    if not url.startswith(("s3://", "s3a://")):
        return {}
    return {"anon": not any(os.environ.get(name) for name in CREDENTIALS)}


def _is_denial(error: Exception) -> bool:
    name = type(error).__name__  # botocore's: NoCredentialsError, PartialCredentialsError, ProfileNotFound
    is_unsigned = "Credentials" in name or name == "ProfileNotFound"
    return is_unsigned or isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403)


def _may_pass(error: Exception) -> bool:
    """Return whether a failure may pass, as a refusal does not."""
    status = getattr(error, "status", None)
    is_refusal = _is_denial(error) or isinstance(error, FileNotFoundError)
    return not is_refusal and (status is None or status == 429 or status >= 500)


def _text(error: Exception) -> str:
    """Return what an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _what_to_sign_in_with(url: str) -> str:
    if not url.startswith("s3"):
        return "there is no such file, or the server wants you to sign in"
    used = next((name for name in CREDENTIALS if os.environ.get(name)), None)
    if used is not None:
        return f"the credentials that {used} names may not read it, or there is no such object"
    return (
        "there is no such object, or it is not public: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )
