"""The service: takes requests, does one job after the other, and reports each step."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import log
from .film import (
    PICTURE_NAME,
    FilmError,
    disk_full,
    film_size,
    find_ffmpeg,
    make_film,
    picture_size,
    require_space,
)
from .film_server import FilmServer
from .link import Link
from .messages import OUTPUTS, JobRequest, RequestError, Topics, envelope, parse_request, unwrap
from .pictures import FolderPictures, Picture, PicturesError, PictureSource, ServerPictures
from .server_http import ServerClient, ServerError
from .settings import Settings
from .store import StoppedError, Store, StoredJob, Transaction

_MAX_ATTEMPTS = 3
"""A job that was begun this many times, and each time ended with the service, fails."""
_MAX_VISIBLE_JOBS = 50
"""Ended jobs that stay as retained messages at the server."""
_MAX_UNSENT_REPORTS = 1000
_PROGRESS_STEP = 5
"""Percent between two reports."""
_FETCHED_PERCENT = 40
"""Progress when all pictures are fetched. The rest is the work of ffmpeg."""
_HOUSEKEEPING_SECONDS = 5.0


class ProcessingService:
    """`start` and `stop` are called once each, by one thread."""

    def __init__(self, settings: Settings) -> None:
        """Opens the store and the address of the films. Raises OSError or sqlite3.Error if one cannot be used."""
        self._settings = settings
        self._films = settings.data_path / "films"
        self._work = settings.data_path / "work"
        for folder in (self._films, self._work):
            folder.mkdir(parents=True, exist_ok=True)
        self._topics = Topics(settings.topic_root, settings.service_id)
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._store = Store(settings.data_path / "service.sqlite3")
        self._server = FilmServer(self._films, settings.film_host, settings.film_port, settings.server_url)
        self._public_url = self._server.url if settings.public_url is None else settings.public_url
        self._source = self._open_source()
        self._link = Link(settings, self._topics, self._store, self._take_request)
        self._worker = threading.Thread(target=self._work_until_stop, name="worker", daemon=True)

    @property
    def film_url(self) -> str:
        """The address below which the films are."""
        return self._public_url

    def start(self) -> None:
        self._remove_unknown_files()
        self._store.write(self._report_status)
        self._server.start()
        self._link.start()
        self._worker.start()

    def stop(self) -> None:
        """Puts the present job back into the queue and disconnects, within about 5 s."""
        self._stopping.set()
        self._wake.set()
        self._store.stop_waiting()
        self._worker.join(3)
        self._link.stop()
        self._server.stop()
        self._store.close()

    def _open_source(self) -> PictureSource:
        settings = self._settings
        if settings.pictures_path is not None:
            return FolderPictures(settings.pictures_path)
        return ServerPictures(
            ServerClient(
                settings.server_url,
                token=settings.server_token,
                user=settings.server_user,
                password=settings.server_password,
                stopping=self._stopping,
            )
        )

    # Requests, in the thread of the link.

    def _take_request(self, payload: bytes) -> None:
        try:
            data = unwrap(payload)
            named = data.get("service") if isinstance(data, dict) else None
            if named is not None and named != self._settings.service_id:
                return
            request = parse_request(data)
        except RequestError as problem:
            log.warning("a request was refused", reason=str(problem))
            self._store.write(partial(self._report_bad_request, reason=str(problem)))
            return
        self._store.write(lambda change: self._queue(change, request))
        self._wake.set()

    def _report_bad_request(self, change: Transaction, reason: str) -> None:
        # The server limits the requests, and this limits the disk space while the server is away.
        if change.unsent() < _MAX_UNSENT_REPORTS:
            event = "error.occurred"
            data = {"source": "job.requested", "error": reason}
            change.put(self._topics.event(event), envelope(event, data), retain=False)

    def _queue(self, change: Transaction, request: JobRequest) -> None:
        if change.knows(request.job):
            return
        if change.queued() >= self._settings.max_queued_jobs:
            limit = self._settings.max_queued_jobs
            waiting = "1 job waits" if limit == 1 else f"{limit} jobs wait"
            reason = f"the queue of the service is full: {waiting}. Request a new job later"
            change.add_job(request.job, request.to_json(), failed=True)
            self._report(change, request, "failed", 0, error=reason)
            return
        change.add_job(request.job, request.to_json())
        self._report(change, request, "queued", 0)
        self._report_status(change)
        log.info("job queued", job=request.job, camera=request.camera)

    # Reports.

    def _report(self, change: Transaction, request: JobRequest, status: str, progress: int, **more: Any) -> None:
        event = f"job.{status}" if status in ("completed", "failed") else "job.progress"
        data = {
            "job": request.job,
            "type": "timelapse_assembly",
            "status": status,
            "progress": progress,
            "camera": request.camera,
            "outputs": list(request.outputs),
            **more,
        }
        change.put(self._topics.job(request.job), envelope(event, data), retain=True)

    def _report_status(self, change: Transaction) -> None:
        films, job = change.films(), change.present_job()
        data = {
            "status": "idle" if job is None else "working",
            **({} if job is None else {"job": job}),
            "queued": change.queued(),
            "films": len(films),
            "film_bytes": sum(size for _, size in films),
            "free_bytes": shutil.disk_usage(self._films).free,
            "ffmpeg": shutil.which(self._settings.ffmpeg) is not None,
        }
        change.put_latest(self._topics.status, envelope("state.updated", data))

    # Jobs, in the thread of the worker.

    def _work_until_stop(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self._clear_ended()
                job = self._store.write(self._begin)
                if job is None:
                    self._wake.wait(_HOUSEKEEPING_SECONDS)
                else:
                    self._do(job)
                    self._store.write(self._report_status)
            except StoppedError:
                return
            except Exception:
                log.error("the worker failed and continues")
                self._stopping.wait(1)

    def _begin(self, change: Transaction) -> StoredJob | None:
        job = change.take_job()
        if job is not None and job.attempts <= _MAX_ATTEMPTS:
            self._report(change, _request_of(job), "processing", 0)
            self._report_status(change)
        return job

    def _do(self, job: StoredJob) -> None:
        request = _request_of(job)
        log.info("job begun", job=job.job, attempt=job.attempts)
        work = _Work(self._work / job.job, self._films, request)
        try:
            if job.attempts > _MAX_ATTEMPTS:
                raise FilmError(f"the service ended {_MAX_ATTEMPTS} times during this job. Request a shorter range")
            films = self._make_films(work)
            self._store.write(lambda change: self._complete(change, request, films))
            log.info("job completed", job=job.job, films=[film["url"] for film in films])
        except StoppedError:
            self._return(request)
            raise
        except Exception as failure:
            work.remove_films()
            if self._stopping.is_set():
                self._return(request)
                raise StoppedError from failure
            reason = self._reason_of(failure, job.job)
            self._store.write(lambda change: self._fail(change, request, work.percent, reason))
            log.warning("job failed", job=job.job, reason=reason)
        work.remove_pictures()
        self._remove_old_films()

    def _return(self, request: JobRequest) -> None:
        """A stopping service keeps the fetched pictures, so that the next attempt is faster."""

        def change_job(change: Transaction) -> None:
            change.return_job(request.job)
            self._report(change, request, "queued", 0)
            self._report_status(change)

        self._store.write(change_job)

    def _reason_of(self, failure: Exception, job: str) -> str:
        if isinstance(failure, (FilmError, ServerError, PicturesError)):
            return str(failure)
        if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT):
            return str(disk_full(self._films))
        log.error("unexpected failure of a job", job=job)
        return f"unexpected failure: {failure}. The log of the service has more"

    def _make_films(self, work: _Work) -> list[dict[str, Any]]:
        ffmpeg = find_ffmpeg(self._settings.ffmpeg)
        count, size = self._fetch(work)
        films = []
        for index, output in enumerate(work.request.outputs):

            def on_frames(frames: int, index: int = index) -> None:
                share = (index + min(1.0, frames / count)) / len(work.request.outputs)
                self._progress(work, _FETCHED_PERCENT + (100 - _FETCHED_PERCENT) * share)

            name, part = work.new_film(output)
            made = make_film(
                ffmpeg,
                work.frames,
                part,
                size=film_size(size, OUTPUTS[output]),
                fps=work.request.fps,
                min_free_bytes=self._settings.min_free_bytes,
                on_frames=on_frames,
                stopping=self._stopping,
            )
            part.rename(self._films / name)
            films.append(
                {
                    "output": output,
                    "url": f"{self._public_url}/films/{name}",
                    "size_bytes": made.size_bytes,
                    "width": made.width,
                    "height": made.height,
                    "frames": made.frames,
                    "duration_s": round(made.frames / work.request.fps, 3),
                }
            )
        _sync_folder(self._films)
        return films

    def _fetch(self, work: _Work) -> tuple[int, tuple[int, int]]:
        """Fetches all pictures of the job. Returns their number and the size of the first one, pixels."""
        request, settings = work.request, self._settings
        work.prepare()
        pictures = self._source.list(request.camera, request.first, request.last)
        if not pictures:
            raise FilmError(
                f"there is no picture of the camera {request.camera} between {request.first.isoformat()} and"
                f" {request.last.isoformat()}"
            )
        if len(pictures) > settings.max_pictures:
            raise FilmError(
                f"the range has {len(pictures)} pictures, and MAX_PICTURES allows {settings.max_pictures}: request a"
                " shorter range"
            )
        count, size = 0, None
        for index, picture in enumerate(pictures):
            if self._stopping.is_set():
                raise StoppedError
            require_space(work.folder, settings.min_free_bytes)
            found = self._fetch_one(work, picture)
            if found is not None:
                size = size or found
                count += 1
                (work.frames / PICTURE_NAME.format(count)).symlink_to(work.place_of(picture))
            self._progress(work, _FETCHED_PERCENT * (index + 1) / len(pictures))
        if size is None:
            raise FilmError(f"each of the {len(pictures)} pictures was removed or is not a JPEG: request a later range")
        return count, size

    def _fetch_one(self, work: _Work, picture: Picture) -> tuple[int, int] | None:
        """Fetches a picture, unless an earlier attempt has. Returns its size, or None if it must be left out."""
        target = work.place_of(picture)
        found = picture_size(target) if target.exists() else None
        if found is None:
            target.unlink(missing_ok=True)
            if not self._source.fetch(picture, target):
                return None
            found = picture_size(target)
        if found is None:
            log.warning("a picture is not a JPEG and is left out", job=work.request.job, picture=picture.place)
        return found

    def _progress(self, work: _Work, percent: float) -> None:
        rounded = int(percent // _PROGRESS_STEP * _PROGRESS_STEP)
        # 100 is reported by `job.completed`.
        if work.percent < rounded < 100:
            work.percent = rounded
            self._store.write(lambda change: self._report(change, work.request, "processing", rounded))

    def _complete(self, change: Transaction, request: JobRequest, films: list[dict[str, Any]]) -> None:
        for film in films:
            change.add_film(film["url"].rsplit("/", 1)[1], film["size_bytes"])
        change.end_job(request.job, "completed")
        self._report(change, request, "completed", 100, films=films)

    def _fail(self, change: Transaction, request: JobRequest, percent: int, reason: str) -> None:
        change.end_job(request.job, "failed")
        self._report(change, request, "failed", percent, error=reason[:2000])

    # Housekeeping.

    def _clear_ended(self) -> None:
        """Clears the retained messages of old jobs. Their events stay in the history of the server."""
        before = time.time() - self._settings.job_visible_seconds

        def clear(change: Transaction) -> None:
            for job in change.clear_ended(before, _MAX_VISIBLE_JOBS):
                change.put(self._topics.job(job), b"", retain=True)

        self._store.write(clear)

    def _remove_old_films(self) -> None:
        """Removes the oldest films beyond the limits, but never the newest film."""
        films = self._store.write(lambda change: change.films())
        total = 0
        for index, (name, size) in enumerate(films):
            total += size
            if index > 0 and (index >= self._settings.max_films or total > self._settings.max_film_bytes):
                self._store.write(partial(Transaction.remove_film, name=name))
                (self._films / name).unlink(missing_ok=True)
                log.info("old film removed", film=name)

    def _remove_unknown_files(self) -> None:
        """Removes what a killed service left: films without a row, parts, and pictures of ended jobs."""
        known = {name for name, _ in self._store.write(lambda change: change.films())}
        for path in self._films.iterdir():
            if path.name not in known:
                path.unlink()
        waiting = self._store.write(lambda change: change.waiting())
        for path in self._work.iterdir():
            if path.name not in waiting:
                shutil.rmtree(path)


@dataclass
class _Work:
    """The files and the progress of one attempt."""

    folder: Path
    films: Path
    request: JobRequest
    percent: int = 0

    def __post_init__(self) -> None:
        self._made: list[Path] = []

    def new_film(self, output: str) -> tuple[str, Path]:
        """The name of a film, which begins with the camera, and the path of the film while it is made."""
        name = f"{self.request.camera}.{output}-{secrets.token_hex(16)}.mp4"
        part = self.films / f"{name}.part"
        self._made += [part, self.films / name]
        return name, part

    def prepare(self) -> None:
        """Makes the folders. Pictures that an earlier attempt has fetched stay."""
        shutil.rmtree(self.frames, ignore_errors=True)
        self.frames.mkdir(parents=True)
        (self.folder / "fetched").mkdir(exist_ok=True)

    @property
    def frames(self) -> Path:
        """The folder of the numbered pictures for ffmpeg."""
        return self.folder / "frames"

    def place_of(self, picture: Picture) -> Path:
        """The path of a fetched picture. The same picture has the same path in every attempt."""
        name = hashlib.sha256(picture.place.encode()).hexdigest()[:32]
        return (self.folder / "fetched" / f"{name}.jpg").absolute()

    def remove_films(self) -> None:
        for path in self._made:
            path.unlink(missing_ok=True)

    def remove_pictures(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _request_of(job: StoredJob) -> JobRequest:
    return parse_request(unwrap(job.request.encode()))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
