"""What each path of the server leads to: files of results, volumes and skeletons in neuroglancer's terms, the client.

========================================  ==========================================================================
``/.../NAME.zarr/...``, ``/report/...``   files below the results folder; nothing else of it is served
``/.../NAME.zarr/float32/...``            the same store, its values as float32 (`virtual_floats`)
``/.../raw/...``, ``/.../labels/...``     the volume that ``/.../volume.json`` describes, as Zarr (`virtual_zarr`)
``/.../skeletons/...``                    ``/.../skeletons.npz``, precomputed (`precomputed_skeletons`)
``/client/v/results/``                    neuroglancer itself, where its Python package is installed
``/open#!STATE``                          sends a link on to the client, whichever there is
========================================  ==========================================================================

A path with ``..`` or an empty name leads nowhere, and nor does a symbolic link out of the results. The exception is a
link directly in the results folder (``results/predict -> /scratch/predict``): who keeps a stage on another disk made
it.
"""

from __future__ import annotations

import io
import json
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from connectomake.view.precomputed_skeletons import open_skeletons
from connectomake.view.virtual_floats import open_floats
from connectomake.view.virtual_zarr import PARTS, open_virtual

PUBLIC_CLIENT = "https://neuroglancer-demo.appspot.com"
OWN_CLIENT = "/client/v/results"
VIEWS = "report/view"
FLOATS = "float32"

_TYPES = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".tsv": "text/tab-separated-values; charset=utf-8",
    ".wasm": "application/wasm",
}
_BYTES = "application/octet-stream"
# The package's client expects /v/TOKEN in its address, and events from a Python program there; here is none, and a
# connection held open for them would be one of the few that a browser allows itself.
_ALONE = (
    b"<script>window.EventSource = class { constructor() { setTimeout(() => this.onopen()); } close() {} };</script>"
)
_SOURCE = re.compile(r"(?<=://)https?://[^/\"]+")


@dataclass(frozen=True)
class Found:
    """What a path leads to: a file, or bytes that were made for it.

    `kind` is the media type; `file` is read where it is given, `body` otherwise.
    """

    kind: str
    file: Path | None = None
    body: bytes = b""

    def open(self) -> tuple[BinaryIO, int]:
        """Open it for reading, and give its size in bytes."""
        if self.file is None:
            return io.BytesIO(self.body), len(self.body)
        stream = self.file.open("rb")
        return stream, os.fstat(stream.fileno()).st_size


class Site:
    """All that one server serves.

    Parameters
    ----------
    results
        The folder of the results.
    client
        Address of the neuroglancer client that ``/open`` leads to; by default the one in the installed package
        `neuroglancer`, which works offline, or else the public one.
    """

    def __init__(self, results: Path, client: str = "") -> None:
        self._results = results.resolve()
        links = [p for p in self._results.iterdir() if p.is_symlink() and p.is_dir()]
        self._roots = [self._results, *(link.resolve() for link in links)]
        self._client_folder = find_client()
        self.client = client.rstrip("/") or (OWN_CLIENT if self._client_folder else PUBLIC_CLIENT)

    def find(self, path: str, address: str = "") -> Found | None:
        """Look up what a path of a request, still percent-encoded, leads to; None for nothing.

        `address` is how the client reached the server: it replaces the one that the sources in a ``state.json`` name.

        Raises
        ------
        DataError
            A volume cannot be read.
        """
        parts = split_path(path)
        if parts is None:
            return None
        if parts == ["open"]:
            return Found(_TYPES[".html"], body=_redirect_page(self.client))
        if parts[0] == "client":
            return self._find_client_file("/".join(parts).removeprefix(OWN_CLIENT[1:]).removeprefix("/"))
        return self._find_made(parts) or self._find_file(parts, address)

    def views(self) -> list[str]:
        """List the states that link_neuroglancer wrote, as paths below the results, the newest first."""
        found = sorted((self._results / VIEWS).rglob("state.json"), key=lambda p: p.stat().st_mtime, reverse=True)
        return [p.relative_to(self._results).as_posix() for p in found]

    def _find_made(self, parts: list[str]) -> Found | None:
        """Find what is no file: the volume of a volume.json, the skeletons of a skeletons.npz, a store as floats."""
        for place, name in enumerate(parts[1:-1], 1):
            folder, key = parts[:place], "/".join(parts[place + 1 :])
            if name in PARTS and (volume_json := self._locate([*folder, "volume.json"])):
                return _made(key, open_virtual(volume_json, name).read(key))
            if name == "skeletons" and (npz := self._locate([*folder, "skeletons.npz"])):
                return _made(key, open_skeletons(npz).read(key))
            if name == FLOATS and folder[-1].endswith(".zarr") and (group := self._locate([*folder, "zarr.json"])):
                return _made(key, open_floats(group).read(key))
        return None

    def _find_file(self, parts: list[str], address: str) -> Found | None:
        is_open = parts[0] == "report" or any(name.endswith(".zarr") for name in parts[:-1])
        file = self._locate(parts) if is_open else None
        if file is None:
            return None
        if file.name == "state.json" and address:
            state = _SOURCE.sub(lambda _: address, file.read_text(encoding="utf-8"))
            return Found(_TYPES[".json"], body=state.encode())
        return Found(_TYPES.get(file.suffix, _BYTES), file)

    def _find_client_file(self, name: str) -> Found | None:
        """Find a file of the client; all of them lie in one folder."""
        file = self._client_folder / (name or "index.html") if self._client_folder and "/" not in name else None
        if file is None or not file.is_file():
            return None
        if not name:
            return Found(_TYPES[".html"], body=file.read_bytes().replace(b"<head>", b"<head>" + _ALONE, 1))
        return Found(_TYPES.get(file.suffix, _BYTES), file)

    def _locate(self, parts: list[str]) -> Path | None:
        """Return the file below the results that a path names; None where there is none, or where it leads out."""
        file = self._results.joinpath(*parts).resolve()
        inside = any(file.is_relative_to(root) for root in self._roots)
        return file if inside and file.is_file() else None


def split_path(path: str) -> list[str] | None:
    """Split a request's path into names; None for one that is not below the root.

    >>> split_path("/a/b%20c?x=1"), split_path("/a/%2e%2e/b"), split_path("//etc/passwd")
    (['a', 'b c'], None, None)
    """
    text = unquote(path.partition("?")[0].partition("#")[0])
    parts = text.removeprefix("/").removesuffix("/").split("/")
    refused = any(name in ("", ".", "..") or "\0" in name or "\\" in name for name in parts)
    return None if refused else parts


def find_client() -> Path | None:
    """Return the folder of the neuroglancer client that the Python package `neuroglancer` brings; None without it."""
    package = find_spec("neuroglancer")
    for folder in (package.submodule_search_locations or []) if package else []:
        client = Path(folder) / "static" / "client"
        if (client / "index.html").is_file():
            return client
    return None


def _made(key: str, body: bytes | None) -> Found | None:
    if body is None:
        return None
    return Found(_TYPES[".json"] if key.endswith(("info", ".json")) else _BYTES, body=body)


def _redirect_page(client: str) -> bytes:
    """Write the page that hands the fragment, which no server ever sees, to the client."""
    target = json.dumps(f"{client}/").replace("<", "\\u003c")
    return (
        '<!doctype html><meta charset="utf-8"><title>neuroglancer</title>'
        f"<script>location.replace({target} + location.hash)</script>"
        "<noscript>Neuroglancer needs JavaScript.</noscript>"
    ).encode()
