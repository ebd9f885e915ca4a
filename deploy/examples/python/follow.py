#!/usr/bin/env python3
"""Follows a channel of Skylapse Realtime: prints the state, then every event in order, also after a lost connection.

Needs Python 3.11 and websockets 10 (Debian: python3-websockets).

    SKYLAPSE_TOKEN=... python3 follow.py ws://localhost:8082/ws dashboard position.json

Standard output has one line of JSON for each event. A line with "gap" says which events are missing. The file keeps the
position up to which everything was printed, so that the next run continues there. If the program is killed, the next run
may print the newest event again.

The token is not renewed. For a program that runs for long, use the secret of an integration as the token: a secret does
not expire.
"""

import asyncio
import json
import os
import random
import sys
from pathlib import Path

import websockets

MIN_DELAY_S = 0.5
MAX_DELAY_S = 20.0
# A connection that lasted this long resets the delay.
STABLE_AFTER_S = 10.0
# The server sends a ping every `ping_interval` seconds.
SILENT_PINGS = 2
GRACE_S = 5.0
ANSWER_TIMEOUT_S = 10.0
# 4000 to 4099: a retry would be refused again. 4100 to 4199: a new token is needed.
FINAL_CODES = range(4000, 4200)


class RefusedError(Exception):
    """The server refuses this token or this channel: a retry would be refused, too."""


class Cursor:
    """The position up to which everything was printed, in a file that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.since: dict | None = json.loads(path.read_text()) if path.exists() else None

    def move(self, epoch: str | None, position: int) -> None:
        if epoch is None:
            return
        self.since = {"epoch": epoch, "position": position}
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(self.since))
        temporary.replace(self._path)


def show(line: dict) -> None:
    print(json.dumps(line), flush=True)


class Session:
    """The subscription on one connection."""

    def __init__(self, socket, channel: str, cursor: Cursor) -> None:
        self._socket = socket
        self._channel = channel
        self._cursor = cursor
        self._epoch: str | None = None
        # While the state of the channel arrives there is no position to resume from.
        self._snapshot_until: int | None = None
        self._timeout_s = ANSWER_TIMEOUT_S

    async def run(self, token: str) -> None:
        await self._send({"type": "auth", "token": token})
        while True:
            text = await asyncio.wait_for(self._socket.recv(), self._timeout_s)
            await self._take(json.loads(text))

    async def _send(self, message: dict) -> None:
        await self._socket.send(json.dumps(message))

    async def _take(self, message: dict) -> None:
        kind = message["type"]
        if kind == "auth_success":
            self._timeout_s = message["ping_interval"] * SILENT_PINGS + GRACE_S
            since = {} if self._cursor.since is None else {"since": self._cursor.since}
            await self._send({"type": "subscribe", "channel": self._channel, **since})
        elif kind == "auth_error":
            raise RefusedError(message["error"])
        elif kind == "subscription_result":
            self._subscribed(message)
        elif kind == "unsubscription_result":
            raise RefusedError(message.get("error", "the server has withdrawn the channel"))
        elif kind == "dashboard_event":
            self._event(message)
        elif kind == "caught_up":
            self._move(message["position"])
        elif kind == "ping":
            await self._send({"type": "pong"})
            if "position" in message:
                self._move(message["position"])

    def _subscribed(self, message: dict) -> None:
        if not message["success"]:
            # 100, 106, 111 and 130 pass: the caller connects again after a delay.
            error = ConnectionError if message.get("code") in {100, 106, 111, 130} else RefusedError
            raise error(message.get("error", "the server refused the channel"))
        self._epoch = message.get("epoch")
        if message.get("recovered"):
            return
        if self._cursor.since is not None:
            show({"gap": message.get("gap"), "reason": message.get("reason")})
        self._snapshot_until = message.get("position", 0)

    def _event(self, event: dict) -> None:
        is_state = event.get("snapshot", False)
        since = self._cursor.since
        known = since is not None and since["epoch"] == self._epoch and event["position"] <= since["position"]
        if known and not is_state and self._snapshot_until is None:
            return
        show(event)
        if not is_state:
            self._move(event["position"])

    def _move(self, position: int) -> None:
        """Everything up to here was printed. A snapshot is complete with the first position after its own."""
        if self._snapshot_until is not None and position < self._snapshot_until:
            return
        self._snapshot_until = None
        self._cursor.move(self._epoch, position)


async def follow(url: str, channel: str, cursor: Cursor, token: str) -> None:
    delay_s = MIN_DELAY_S
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            # The server's frames may be larger than the default of 1 MiB.
            async with websockets.connect(url, max_size=None, open_timeout=ANSWER_TIMEOUT_S) as socket:
                await Session(socket, channel, cursor).run(token)
        except websockets.ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else 1006
            if code in FINAL_CODES:
                raise RefusedError(f"the server closed the connection with {code}: {closed.rcvd.reason}") from closed
            problem = f"the connection was lost ({code})"
        except (OSError, asyncio.TimeoutError, websockets.InvalidHandshake) as error:
            problem = f"no connection: {error!r}"
        if loop.time() - began >= STABLE_AFTER_S:
            delay_s = MIN_DELAY_S
        # A random wait, so that the clients of a server that restarts do not all return at once.
        wait_s = random.uniform(MIN_DELAY_S, delay_s)
        print(f"{problem}; next attempt in {wait_s:.1f} s", file=sys.stderr, flush=True)
        await asyncio.sleep(wait_s)
        delay_s = min(MAX_DELAY_S, delay_s * 2)


def main() -> int:
    if len(sys.argv) != 4 or "SKYLAPSE_TOKEN" not in os.environ:
        print(__doc__, file=sys.stderr)
        return 2
    _, url, channel, file = sys.argv
    try:
        asyncio.run(follow(url, channel, Cursor(Path(file)), os.environ["SKYLAPSE_TOKEN"]))
    except RefusedError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
