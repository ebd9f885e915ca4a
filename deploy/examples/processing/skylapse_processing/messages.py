"""The messages of the service: topics, envelopes, and requests for jobs. See docs/mqtt.md."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

REQUEST_EVENT = "job.requested"
OUTPUTS = {"1080p": (1920, 1080), "4k": (3840, 2160)}
"""The largest width and height of each output, pixels."""
DEFAULT_FPS = 25
MAX_FPS = 60
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class RequestError(Exception):
    """A request is malformed. The message says which field is wrong, and what it must be."""


@dataclass(frozen=True)
class Topics:
    """The topics of one service below the topic root."""

    root: str
    service: str

    @property
    def link(self) -> str:
        return f"{self.root}/processing/{self.service}/link"

    @property
    def status(self) -> str:
        return f"{self.root}/processing/{self.service}/state/service"

    @property
    def requests(self) -> str:
        return f"{self.root}/channels/jobs/events/{REQUEST_EVENT}"

    def job(self, job: str) -> str:
        return f"{self.root}/processing/{self.service}/jobs/{job}"

    def event(self, event: str) -> str:
        return f"{self.root}/processing/{self.service}/events/{event}"


@dataclass(frozen=True)
class JobRequest:
    """A request for films of one camera, from the first to the last time, both inclusive."""

    job: str
    camera: str
    first: datetime
    last: datetime
    outputs: tuple[str, ...]
    fps: int

    def to_json(self) -> str:
        """The request as text for the store. `parse_request` reads this text."""
        return json.dumps(
            {
                "job": self.job,
                "camera": self.camera,
                "from": _utc(self.first),
                "to": _utc(self.last),
                "outputs": list(self.outputs),
                "fps": self.fps,
            }
        )


def envelope(event: str, data: object) -> bytes:
    """The payload of an event. The server recognises a repetition by the random `id`."""
    now = _utc(datetime.now(UTC))
    return json.dumps({"v": 1, "id": uuid.uuid4().hex, "timestamp": now, "event": event, "data": data}).encode()


def unwrap(payload: bytes) -> Any:
    """The data of a payload, with or without an envelope. Raises RequestError if the payload is not JSON."""
    try:
        value = json.loads(payload)
    except ValueError:
        raise RequestError("the request is not JSON") from None
    return value.get("data") if isinstance(value, dict) and "v" in value and "event" in value else value


def parse_request(data: Any) -> JobRequest:
    """Checks the data of a `job.requested`. Raises RequestError for the first wrong field."""
    if not isinstance(data, dict):
        raise RequestError("the request must be an object with `job`, `camera`, `from` and `to`")
    for name in ("job", "camera"):
        if not isinstance(data.get(name), str) or not _ID.fullmatch(data[name]):
            raise RequestError(f"`{name}` must be an id: 1 to 63 of a-z, 0-9 and '-'")
    first, last = _time(data, "from"), _time(data, "to")
    if first > last:
        raise RequestError("`from` must not be later than `to`")
    outputs = data.get("outputs", ["1080p"])
    if not isinstance(outputs, list) or not outputs or any(output not in OUTPUTS for output in map(str, outputs)):
        raise RequestError("`outputs` must be a list of 1080p and 4k")
    fps = data.get("fps", DEFAULT_FPS)
    if type(fps) is not int or not 1 <= fps <= MAX_FPS:
        raise RequestError(f"`fps` must be a whole number from 1 to {MAX_FPS}")
    return JobRequest(data["job"], data["camera"], first, last, tuple(dict.fromkeys(map(str, outputs))), fps)


def parse_time(text: str) -> datetime:
    """Reads an RFC 3339 time in UTC. Raises ValueError."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return time.astimezone(UTC)


def _time(data: dict[str, Any], name: str) -> datetime:
    try:
        return parse_time(data[name])
    except (KeyError, TypeError, ValueError):
        raise RequestError(f"`{name}` must be an RFC 3339 time in UTC, such as 2026-03-01T06:30:00.000Z") from None


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
