"""Publishes an event by `POST /broadcast`, the way for programs that have no MQTT.

As a program, for example to ask for a film:

    python3 -m skylapse_processing.broadcast --channel jobs job.requested \
      '{"job":"north-1","camera":"north","from":"2026-03-01T06:00:00Z","to":"2026-03-01T18:00:00Z"}'
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import uuid
from typing import Any

from .log import start_log
from .server_http import ServerClient, ServerError


def broadcast(client: ServerClient, event: str, data: dict[str, Any], *, channel: str = "dashboard") -> str:
    """Publishes an event. Returns when the server has written the event to its disk.

    A retry after a lost answer publishes the event twice. So that receivers recognise the repetition, `data` gets an
    `id`, which all retries share; `data` that has an `id` or a `job` keeps it. Returns this id.

    Raises ServerError: the server refused the event, or did not answer within the time that the client waits.
    """
    identity = str(data.get("id") or data.get("job") or uuid.uuid4().hex)
    body = data if "job" in data else {**data, "id": identity}
    client.post_json("/broadcast", {"channel": channel, "message": {"event": event, "data": body}})
    return identity


def main() -> int:
    """The program. Exit codes: 0 published, 1 not published, 2 wrong command line."""
    parser = argparse.ArgumentParser(prog="skylapse_processing.broadcast", description=broadcast.__doc__)
    parser.add_argument("--channel", default="dashboard", help="default: dashboard")
    parser.add_argument("--give-up", type=float, default=300.0, metavar="SECONDS", help="default: 300")
    parser.add_argument("event", help="such as weather.warning")
    parser.add_argument("data", nargs="?", default="{}", help="a JSON object; default: {}")
    options = parser.parse_args()
    try:
        data = json.loads(options.data)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        parser.error("data must be a JSON object")
    start_log(os.environ.get("LOG_LEVEL", "info"))
    client = ServerClient(
        os.environ.get("SKYLAPSE_URL", "http://127.0.0.1:8082"),
        token=os.environ.get("SKYLAPSE_TOKEN"),
        user=os.environ.get("SKYLAPSE_USER"),
        password=os.environ.get("SKYLAPSE_PASSWORD"),
        give_up_seconds=options.give_up,
    )
    try:
        print(broadcast(client, options.event, data, channel=options.channel))
    except ServerError as failure:
        print(f"not published: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
