"""Serve results to neuroglancer over HTTP: ranges of files, as sharded stores need them, and CORS headers.

Whoever reaches the port can read the stores, and so can any web page in a browser that does: that is what CORS says.
By default only programs of this machine reach it (127.0.0.1); from elsewhere use ``ssh -L 9000:127.0.0.1:9000 HOST``.

A page of the public client (https) may read from http://127.0.0.1 in Chrome, Edge and Firefox, which may ask for
permission first ("local network"); Safari refuses. With the Python package `neuroglancer` installed the client comes
from this server too, and nothing of this matters.
"""

from __future__ import annotations

import errno
import logging
import re
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from connectomake.errors import ConfigError, ConnectomakeError, MissingDataError
from connectomake.view.routes import PUBLIC_CLIENT, Site

log = logging.getLogger(__name__)

PIECE_BYTES = 2**20
SHOWN_VIEWS = 10

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Range",
    "Access-Control-Allow-Private-Network": "true",
    "Access-Control-Expose-Headers": "Accept-Ranges, Content-Length, Content-Range",
    "Access-Control-Max-Age": "600",
}


class ResultsServer(ThreadingHTTPServer):
    """A server of one `Site`, a thread for each connection."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, site: Site, host: str, port: int) -> None:
        self.site = site
        super().__init__((host, port), _Handler)

    @property
    def address(self) -> str:
        """The server's address for a browser on this machine, as in ``http://127.0.0.1:9000``."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong; clients that hang up, as neuroglancer does at every turn, are no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            log.exception("answering %s failed", client_address)


def make_server(results: Path, *, host: str = "127.0.0.1", port: int = 9000, client: str = "") -> ResultsServer:
    """Open the port; the caller runs ``serve_forever()`` and closes it.

    Parameters
    ----------
    results
        The folder of the results.
    host, port
        Where to listen; port 0 takes a free one.
    client
        See `Site`.

    Raises
    ------
    MissingDataError
        There is no such folder.
    ConfigError
        The port is in use, or is not ours to open.
    """
    if not results.is_dir():
        raise MissingDataError(f"there is no folder {results}", hint="name the results with --results")
    site = Site(results, client)
    try:
        return ResultsServer(site, host, port)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            hint = f"end the program there (another serve_volumes?), or take another: --port {port + 1}"
            raise ConfigError(f"port {port} of {host} is in use", hint=hint) from error
        raise ConfigError(f"cannot listen at {host}, port {port} ({error})", hint="see --host and --port") from error


def serve(results: Path, *, host: str, port: int, client: str = "") -> None:
    """Serve results until Ctrl-C, and log the address and the newest views.

    Raises
    ------
    MissingDataError, ConfigError
        See `make_server`.
    """
    with make_server(results, host=host, port=port, client=client) as server:
        try:
            _announce(server, results)
            server.serve_forever()
        except KeyboardInterrupt:
            log.info("stopped")


def parse_range(header: str | None, size: int) -> range | None:
    """Read a Range header of one range.

    Parameters
    ----------
    header
        ``bytes=FIRST-LAST``, ``bytes=FIRST-`` or, for the last N bytes, ``bytes=-N``.
    size
        Bytes that there are.

    Returns
    -------
    range or None
        The bytes to send; empty where none of them exist (416); None where all are to be sent, since there is no
        header, or one that may be ignored: several ranges, other units.
    """
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(size, int(last) + 1) if last else size)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds that a silent connection may last
    server: ResultsServer

    def do_GET(self) -> None:
        opened = self._open()
        if opened is None:
            return
        kind, stream, size = opened
        with stream:
            part = parse_range(self.headers.get("Range"), size)
            if part is None:
                self._send_head(HTTPStatus.OK, size, kind)
                self._copy(stream, range(size))
            elif not part:
                self._send_head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, content_range=f"bytes */{size}")
            else:
                said = f"bytes {part.start}-{part.stop - 1}/{size}"
                self._send_head(HTTPStatus.PARTIAL_CONTENT, len(part), kind, content_range=said)
                self._copy(stream, part)

    def do_HEAD(self) -> None:
        opened = self._open()
        if opened is not None:
            kind, stream, size = opened
            stream.close()
            self._send_head(HTTPStatus.OK, size, kind)

    def do_OPTIONS(self) -> None:
        self._send_head(HTTPStatus.NO_CONTENT, None)

    def _open(self) -> tuple[str, BinaryIO, int] | None:
        """Open what is asked for: its media type, a stream, its size. Where there is nothing, tell the client so."""
        host = self.headers.get("Host")
        status, message = HTTPStatus.NOT_FOUND, "nothing here"
        try:
            found = self.server.site.find(self.path, f"http://{host}" if host else self.server.address)
            if found is not None:
                return found.kind, *found.open()
        except OSError as error:  # not there (MissingDataError is one too), or not ours to read
            message = str(error)
        except ConnectomakeError as error:
            log.warning("%s: %s", self.path, error)
            status, message = HTTPStatus.INTERNAL_SERVER_ERROR, str(error)
        self._refuse(status, message)
        return None

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        body = f"{message}\n".encode()
        self._send_head(status, len(body), "text/plain; charset=utf-8")
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_head(self, status: HTTPStatus, length: int | None, kind: str = "", content_range: str = "") -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Range": content_range, "Accept-Ranges": "bytes"}
        for name, value in (headers | _CORS).items():
            if value:
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-cache")  # a store that was made anew has the same address
        self.end_headers()

    def _copy(self, stream: BinaryIO, part: range) -> None:
        stream.seek(part.start)
        left = len(part)
        while left and (piece := stream.read(min(left, PIECE_BYTES))):
            self.wfile.write(piece)
            left -= len(piece)
        self.close_connection |= left > 0  # the file has become shorter: only hanging up tells the client

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _announce(server: ResultsServer, results: Path) -> None:
    address, site = server.address, server.site
    log.info("serving %s at %s, until Ctrl-C", results, address)
    if str(server.server_address[0]) not in ("127.0.0.1", "localhost"):
        log.warning("everyone who reaches this machine can read these results")
    if site.client == PUBLIC_CLIENT:
        log.info("links open in %s; to work offline, and in Safari: pip install neuroglancer", PUBLIC_CLIENT)
    views = site.views()
    for view in views[:SHOWN_VIEWS]:
        log.info("%s/open#!%s/%s", address, address, quote(view))
    if len(views) > SHOWN_VIEWS:
        log.info("... and %d older ones: links.tsv beside each state.json", len(views) - SHOWN_VIEWS)
    if not views:
        log.info("no views below %s: snakemake report makes them", results)
