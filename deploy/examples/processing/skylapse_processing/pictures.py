"""The pictures of a camera: previews from the server, or full-size files from a folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from .messages import parse_time
from .server_http import ServerClient, ServerError

_PAGE = 500
_ULID_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


class PicturesError(Exception):
    """The pictures cannot be listed. The message says why."""


@dataclass(frozen=True)
class Picture:
    """`place` is the path of a file, or a path of the server."""

    taken_at: datetime
    place: str


class PictureSource(Protocol):
    """Where pictures come from."""

    def list(self, camera: str, first: datetime, last: datetime) -> list[Picture]:
        """The pictures of a time range, oldest first. Raises ServerError or PicturesError."""

    def fetch(self, picture: Picture, target: Path) -> bool:
        """Puts a picture at `target`. Returns False if the picture was removed meanwhile.

        Raises ServerError or OSError.
        """


class ServerPictures:
    """The previews that the server keeps: at most 64 KiB each, by default of the last 48 hours."""

    def __init__(self, client: ServerClient) -> None:
        self._client = client

    def list(self, camera: str, first: datetime, last: datetime) -> list[Picture]:
        found: list[Picture] = []
        path: str | None = f"/cameras/{camera}/previews?limit={_PAGE}"
        while path is not None:
            page = self._client.get_json(path)
            pictures = [Picture(parse_time(entry["taken_at"]), entry["url"]) for entry in page["previews"]]
            found += [picture for picture in pictures if first <= picture.taken_at <= last]
            # Pages are newest first.
            path = page.get("next") if pictures and pictures[-1].taken_at >= first else None
        return sorted(found, key=lambda picture: picture.taken_at)

    def fetch(self, picture: Picture, target: Path) -> bool:
        try:
            content = self._client.get_bytes(picture.place)
        except ServerError as failure:
            if failure.status == 404:
                return False
            raise
        part = target.with_suffix(".part")
        part.write_bytes(content)
        part.rename(target)
        return True


class FolderPictures:
    """The JPEG files in `{root}/{camera}` and its subfolders, such as the folder `raw` of the camera program."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def list(self, camera: str, first: datetime, last: datetime) -> list[Picture]:
        folder = self._root / camera
        if not folder.is_dir():
            raise PicturesError(f"PICTURES_PATH has no folder for the camera {camera}")
        found = []
        for parent, _, names in os.walk(folder):
            for name in names:
                if name.lower().endswith((".jpg", ".jpeg")):
                    path = Path(parent, name)
                    taken_at = _time_of(path)
                    if first <= taken_at <= last:
                        found.append(Picture(taken_at, str(path.resolve())))
        return sorted(found, key=lambda picture: (picture.taken_at, picture.place))

    def fetch(self, picture: Picture, target: Path) -> bool:
        if not os.path.exists(picture.place):
            return False
        target.symlink_to(picture.place)
        return True


def _time_of(path: Path) -> datetime:
    """From the sidecar `{name}.json`, or the ULID at the end of the name, or else the time of the file."""
    try:
        return parse_time(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["taken_at"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    ulid = path.stem.split("-")[-1].lower()
    if len(ulid) == 26 and all(digit in _ULID_DIGITS for digit in ulid):
        milliseconds = 0
        for digit in ulid[:10]:
            milliseconds = milliseconds * 32 + _ULID_DIGITS.index(digit)
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
