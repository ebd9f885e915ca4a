"""HTTP requests to the Skylapse server, with retries and back-off. See docs/http.md."""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from . import log

_TIMEOUT_SECONDS = 30
_FIRST_DELAY_SECONDS = 0.5
_MAX_DELAY_SECONDS = 30.0
_MAX_BODY_BYTES = 16 * 1024 * 1024
_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_RENEW_BEFORE_SECONDS = 60


class ServerError(Exception):
    """The server gave no usable answer. The message says what to do."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ServerClient:
    """Sends requests to one server. Used by one thread."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        give_up_seconds: float = 300.0,
        stopping: threading.Event | None = None,
    ) -> None:
        """`token`: sent with each request. `user` and `password`: the client logs in and renews its own token.

        `give_up_seconds`: the time after which a request that is retried fails. `stopping`: ends retries.
        """
        self._url = url.rstrip("/")
        self._token = token
        self._login = None if user is None else {"user_id": user, "password": password}
        self._expires_at = 0.0
        self._give_up_seconds = give_up_seconds
        self._stopping = stopping or threading.Event()

    def get_json(self, path: str) -> Any:
        """Raises ServerError."""
        return json.loads(self._authorized("GET", path, None))

    def get_bytes(self, path: str) -> bytes:
        """Raises ServerError."""
        return self._authorized("GET", path, None)

    def post_json(self, path: str, body: object) -> Any:
        """Sends a body. A retry may repeat a request that the server has already carried out. Raises ServerError."""
        return json.loads(self._authorized("POST", path, json.dumps(body).encode()))

    def _authorized(self, method: str, path: str, body: bytes | None) -> bytes:
        if self._login is not None and time.monotonic() > self._expires_at - _RENEW_BEFORE_SECONDS:
            self._log_in()
        try:
            return self._retried(method, path, body)
        except ServerError as failure:
            if failure.status != 401 or self._login is None:
                raise
            # The token was revoked, or this machine was suspended.
            self._log_in()
            return self._retried(method, path, body)

    def _log_in(self) -> None:
        self._token = None
        answer = json.loads(self._retried("POST", "/auth/login", json.dumps(self._login).encode()))
        self._token = answer["token"]
        self._expires_at = time.monotonic() + float(answer["expires_in"])

    def _retried(self, method: str, path: str, body: bytes | None) -> bytes:
        deadline = time.monotonic() + self._give_up_seconds
        delay = _FIRST_DELAY_SECONDS
        while True:
            try:
                return self._once(method, path, body)
            except urllib.error.HTTPError as answer:
                failure = _error_of(answer, method, path)
                if answer.code not in _RETRIED:
                    raise failure from None
                wait = _retry_after(answer) or delay
            except (OSError, HTTPException) as reason:
                failure = ServerError(f"the server at {self._url} does not answer: {reason}")
                wait = delay
            # Many clients that lost the server at the same moment must not return at the same moment.
            wait *= random.uniform(1.0, 1.25)
            if time.monotonic() + wait > deadline:
                raise failure
            log.info("request to the server failed, trying again", path=path.partition("?")[0], reason=str(failure))
            if self._stopping.wait(wait):
                raise failure
            delay = min(delay * 2, _MAX_DELAY_SECONDS)

    def _once(self, method: str, path: str, body: bytes | None) -> bytes:
        request = urllib.request.Request(self._url + path, data=body, method=method)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self._token is not None:
            request.add_header("Authorization", f"Bearer {self._token}")
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            content: bytes = response.read(_MAX_BODY_BYTES + 1)
        if len(content) > _MAX_BODY_BYTES:
            raise ServerError(f"the answer to {method} {path} is larger than {_MAX_BODY_BYTES} bytes")
        return content


def _error_of(answer: urllib.error.HTTPError, method: str, path: str) -> ServerError:
    try:
        said = json.loads(answer.read(65_536))["error"]["message"]
    except (OSError, ValueError, KeyError, TypeError):
        said = answer.reason
    hint = ""
    if answer.code in (401, 403):
        hint = ". Set SKYLAPSE_TOKEN, or SKYLAPSE_USER and SKYLAPSE_PASSWORD, with the permission that this needs"
    return ServerError(
        f"the server answered {method} {path.partition('?')[0]} with {answer.code}: {said}{hint}", answer.code
    )


def _retry_after(answer: urllib.error.HTTPError) -> float | None:
    text = answer.headers.get("Retry-After") or ""
    return float(text) if text.isdigit() else None
