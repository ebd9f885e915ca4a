"""Makes a film from numbered pictures, with ffmpeg."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .store import StoppedError

PICTURE_NAME = "{:06d}.jpg"
_PICTURE_PATTERN = "%06d.jpg"
_MAX_ERROR_CHARACTERS = 500
# Runs a program that the kernel ends together with this service (PR_SET_PDEATHSIG, Linux): ffmpeg must not go on when
# the service was killed. `preexec_fn` is not safe in a program with threads. Other programs have priority over ffmpeg.
_END_WITH_PARENT = (
    "import ctypes,os,sys\n"
    "os.nice(10)\n"
    "try: ctypes.CDLL(None).prctl(1, 9)\n"
    "except (AttributeError, OSError): pass\n"
    "if os.getppid() == int(sys.argv[1]): os.execv(sys.argv[2], sys.argv[2:])\n"
)


class FilmError(Exception):
    """The film could not be made. The message says why, and what to do."""


@dataclass(frozen=True)
class MadeFilm:
    """Properties of a film that was made."""

    width: int
    height: int
    frames: int
    size_bytes: int


def find_ffmpeg(program: str) -> str:
    """The path of ffmpeg. Raises FilmError if there is none."""
    found = shutil.which(program)
    if found is None:
        raise FilmError(
            f"ffmpeg was not found as `{program}`: install it on the service's machine (Debian: apt install ffmpeg), or"
            " set FFMPEG to its path, and then request a new job"
        )
    return found


def require_space(folder: Path, min_free_bytes: int) -> None:
    """Raises FilmError if the disk has less free space than `min_free_bytes`."""
    if shutil.disk_usage(folder).free < min_free_bytes:
        raise disk_full(folder)


def disk_full(folder: Path) -> FilmError:
    """The error for a full disk."""
    free = shutil.disk_usage(folder).free
    return FilmError(
        f"the disk of the service is full: {free // 1024**2} MiB are free. Free some space, or lower MAX_FILM_BYTES or"
        " MIN_FREE_BYTES, and then request a new job"
    )


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels of a JPEG, or None if the file is not a JPEG."""
    with path.open("rb") as file:
        if file.read(2) != b"\xff\xd8":
            return None
        while (marker := _next_marker(file.read)) is not None:
            length = int.from_bytes(file.read(2), "big")
            # The markers of a frame, except DHT, JPG and DAC, which have numbers between them.
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                frame = file.read(5)
                size = int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
                return size if len(frame) == 5 and min(size) > 0 else None
            if length < 2:
                return None
            file.seek(length - 2, os.SEEK_CUR)
    return None


def _next_marker(read: Callable[[int], bytes]) -> int | None:
    if read(1) != b"\xff":
        return None
    byte = read(1)
    while byte == b"\xff":
        byte = read(1)
    return byte[0] if byte and byte[0] not in (0xD9, 0xDA) else None


def film_size(picture: tuple[int, int], largest: tuple[int, int]) -> tuple[int, int]:
    """The size of the film: the picture's own, or as large as fits. Both numbers are even, as yuv420p needs."""
    scale = min(1.0, largest[0] / picture[0], largest[1] / picture[1])
    width, height = (max(2, int(side * scale) // 2 * 2) for side in picture)
    return width, height


def make_film(
    ffmpeg: str,
    pictures: Path,
    target: Path,
    *,
    size: tuple[int, int],
    fps: int,
    min_free_bytes: int,
    on_frames: Callable[[int], None],
    stopping: threading.Event,
) -> MadeFilm:
    """Makes an MP4 (H.264, yuv420p, index at the beginning) from the pictures `000001.jpg`, `000002.jpg` and so on.

    `on_frames` gets the number of frames so far, about twice a second.

    Raises FilmError: ffmpeg failed, or the disk became full. Raises StoppedError: `stopping` was set.
    """
    width, height = size
    fit = f"scale={width}:{height}:force_original_aspect_ratio=decrease:out_range=tv"
    command = [sys.executable, "-c", _END_WITH_PARENT, str(os.getpid()), ffmpeg]
    command += ["-nostdin", "-hide_banner", "-loglevel", "error", "-progress", "pipe:1", "-y"]
    command += ["-f", "image2", "-framerate", str(fps), "-start_number", "1", "-i", str(pictures / _PICTURE_PATTERN)]
    command += ["-vf", f"{fit},pad={width}:{height}:-1:-1,setsar=1,format=yuv420p", "-an"]
    command += ["-c:v", "libx264", "-preset", "medium", "-crf", "20", "-movflags", "+faststart"]
    # A file takes any amount of errors; a pipe that nobody reads would stop ffmpeg.
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, "-f", "mp4", str(target)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )
        frames = 0
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(b"frame="):
                    frames = int(line[6:])
                    on_frames(frames)
                if stopping.is_set():
                    raise StoppedError
                require_space(target.parent, min_free_bytes // 2)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if "No space left on device" in said:
        raise disk_full(target.parent)
    if code != 0 or frames == 0:
        last = said.strip()[-_MAX_ERROR_CHARACTERS:] or "it wrote no frame"
        raise FilmError(f"ffmpeg failed with exit code {code}: {last}")
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return MadeFilm(width, height, frames, target.stat().st_size)
