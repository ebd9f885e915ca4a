"""Serves the films over HTTP, with ranges (RFC 9110), so that a browser can play and seek.

A film is for those who may see the pictures of its camera. The Skylapse server decides that for each request, by the
token in `Authorization` or, because a browser that plays a film sends no such header, in the query: `?token=`. With
`download=1` in the query, a browser saves the film instead of playing it.
"""

from __future__ import annotations

import json
import os
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from email.utils import formatdate
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any, BinaryIO

from . import log

FILM_NAME = re.compile(r"([a-z0-9][a-z0-9-]{0,62})\.[a-z0-9-]{1,60}\.mp4")
"""The group is the id of the camera."""
_HEADER_TEXT = re.compile(r"[\x21-\x7e]{1,8192}")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_CHUNK_BYTES = 256 * 1024
_MAX_CONNECTIONS = 64
_TIMEOUT_SECONDS = 30
_ACCESS_TIMEOUT_SECONDS = 10


class FilmServer:
    """An HTTP server for the films of one folder."""

    def __init__(self, folder: Path, host: str, port: int, server_url: str) -> None:
        """Listens at once. Port 0: any free port. Raises OSError if the address cannot be used.

        `server_url`: the address of the Skylapse server.
        """

        class Handler(_Handler):
            films = folder
            skylapse = server_url

        self._server = _BoundedServer((host, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="films", daemon=True)

    @property
    def url(self) -> str:
        """The address of the server, such as `http://127.0.0.1:8090`."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _BoundedServer(ThreadingHTTPServer):
    """Closes connections beyond a limit, because each connection has a thread."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._free = threading.BoundedSemaphore(_MAX_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """A client that disconnects is no error of the server."""
        log.info("a request for a film ended early", address=client_address[0])


class _Handler(BaseHTTPRequestHandler):
    films: Path
    skylapse: str
    protocol_version = "HTTP/1.1"
    server_version = "skylapse-processing"
    sys_version = ""
    timeout = _TIMEOUT_SECONDS

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/health":
            self._json(HTTPStatus.OK, {"status": "healthy"})
            return
        name = path.removeprefix("/films/")
        # A name without a slash that begins with a letter or digit leaves no way out of the folder.
        match = FILM_NAME.fullmatch(name)
        if name == path or match is None:
            self._error(HTTPStatus.NOT_FOUND, "There is no such path")
            return
        if not self._may_watch(match[1], name, query):
            return
        try:
            # A link in the folder must not lead outside.
            file = os.fdopen(os.open(self.films / name, os.O_RDONLY | os.O_NOFOLLOW), "rb")
        except OSError:
            self._error(HTTPStatus.NOT_FOUND, "This film does not exist or was deleted")
            return
        with file:
            self._film(file, os.fstat(file.fileno()), name, is_download="download" in urllib.parse.parse_qs(query))

    do_HEAD = do_GET

    def _may_watch(self, camera: str, name: str, query: str) -> bool:
        """Asks the server. If the answer is no, passes it on to the client."""
        token = urllib.parse.parse_qs(query).get("token", [""])[0]
        authorization = f"Bearer {token}" if token else self.headers.get("Authorization") or ""
        if not _HEADER_TEXT.fullmatch(authorization.replace(" ", "")):
            self._error(HTTPStatus.UNAUTHORIZED, "A film needs a token: open the film on the dashboard")
            return False
        request = urllib.request.Request(
            f"{self.skylapse}/cameras/{camera}/films/{name}/access", headers={"Authorization": authorization}
        )
        try:
            with urllib.request.urlopen(request, timeout=_ACCESS_TIMEOUT_SECONDS):
                return True
        except urllib.error.HTTPError as answer:
            with answer:
                refused = answer.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
            if refused:
                self._error(HTTPStatus(answer.code), "The token does not open this film: open the film on the dashboard")
                return False
        except (OSError, HTTPException):
            pass
        self._error(HTTPStatus.SERVICE_UNAVAILABLE, "The server that checks tokens does not answer: try again")
        return False

    def _film(self, file: BinaryIO, about: os.stat_result, name: str, *, is_download: bool) -> None:
        etag = f'"{name.removesuffix(".mp4")}"'
        if etag in (self.headers.get("If-None-Match") or ""):
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self.send_header("ETag", etag)
            self.end_headers()
            return
        wanted = self._range(about.st_size, etag)
        if wanted is None:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{about.st_size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, length, is_part = wanted
        self.send_response(HTTPStatus.PARTIAL_CONTENT if is_part else HTTPStatus.OK)
        if is_part:
            self.send_header("Content-Range", f"bytes {first}-{first + length - 1}/{about.st_size}")
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(length))
        if is_download:
            # The name needs no quoting: FILM_NAME.
            self.send_header("Content-Disposition", f'attachment; filename="{name}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", etag)
        self.send_header("Last-Modified", formatdate(about.st_mtime, usegmt=True))
        # The film never changes.
        self.send_header("Cache-Control", "private, max-age=86400, immutable")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command == "HEAD":
            return
        file.seek(first)
        while length > 0 and (chunk := file.read(min(length, _CHUNK_BYTES))):
            self.wfile.write(chunk)
            length -= len(chunk)

    def _range(self, size: int, etag: str) -> tuple[int, int, bool] | None:
        """First byte, length, and whether this is a part. None: the range is outside the film.

        A malformed header and several ranges mean the whole film, which RFC 9110 allows.
        """
        match = _RANGE.fullmatch((self.headers.get("Range") or "").strip())
        if match is None or match[0] == "bytes=-" or self.headers.get("If-Range", etag) != etag:
            return 0, size, False
        if match[1] == "":
            length = min(int(match[2]), size)
            return None if length == 0 else (size - length, length, True)
        first = int(match[1])
        last = min(int(match[2]) if match[2] else size - 1, size - 1)
        if first >= size:
            return None
        return (0, size, False) if last < first else (first, last - first + 1, True)

    def _json(self, status: HTTPStatus, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _error(self, status: HTTPStatus, message: str) -> None:
        self._json(status, {"error": {"code": status.name.lower(), "message": message}})

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged: their addresses contain tokens."""
