"""Jobs, films and unsent messages in one SQLite file.

A change of a job and the message about this change are one transaction. So no change is without its message, and no
message is sent for a change that a crash has undone.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from . import log

Result = TypeVar("Result")

_RETRY_SECONDS = 1.0
_MAX_KNOWN_JOBS = 10_000
"""Ended jobs whose ids are remembered, to recognise a repeated request."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  job TEXT NOT NULL UNIQUE,
  request TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('queued', 'processing', 'completed', 'failed')),
  attempts INTEGER NOT NULL DEFAULT 0,
  ended_at REAL,
  cleared INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS films (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  size_bytes INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS outbox (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  topic TEXT NOT NULL,
  payload BLOB NOT NULL,
  retain INTEGER NOT NULL
);
PRAGMA user_version = 1;
"""


class StoppedError(Exception):
    """The service is stopping, so the work was not done."""


@dataclass(frozen=True)
class Message:
    """An unsent message."""

    position: int
    topic: str
    payload: bytes
    retain: bool


@dataclass(frozen=True)
class StoredJob:
    """A job that waits or is being done. `attempts` includes the present attempt."""

    job: str
    request: str
    attempts: int


class Transaction:
    """The changes within one transaction of the store."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Adds a message to the end of the outbox."""
        self._db.execute("INSERT INTO outbox (topic, payload, retain) VALUES (?, ?, ?)", (topic, payload, retain))

    def put_latest(self, topic: str, payload: bytes) -> None:
        """Adds a retained message, which replaces unsent messages of the same topic."""
        self._db.execute("DELETE FROM outbox WHERE topic = ?", (topic,))
        self.put(topic, payload, retain=True)

    def unsent(self) -> int:
        return self._count("SELECT count(*) FROM outbox")

    def knows(self, job: str) -> bool:
        return self._count("SELECT count(*) FROM jobs WHERE job = ?", job) > 0

    def queued(self) -> int:
        return self._count("SELECT count(*) FROM jobs WHERE state = 'queued'")

    def waiting(self) -> set[str]:
        """The ids of all jobs that have not ended."""
        return {job for (job,) in self._db.execute("SELECT job FROM jobs WHERE ended_at IS NULL")}

    def present_job(self) -> str | None:
        row = self._db.execute("SELECT job FROM jobs WHERE state = 'processing'").fetchone()
        return None if row is None else str(row[0])

    def add_job(self, job: str, request: str, *, failed: bool = False) -> None:
        """Adds a job to the queue, or, with `failed`, only remembers that the job was refused."""
        state, ended = ("failed", time.time()) if failed else ("queued", None)
        self._db.execute(
            "INSERT INTO jobs (job, request, state, ended_at) VALUES (?, ?, ?, ?)", (job, request, state, ended)
        )

    def take_job(self) -> StoredJob | None:
        """Begins the oldest job of the queue."""
        row = self._db.execute(
            "UPDATE jobs SET state = 'processing', attempts = attempts + 1 WHERE position ="
            " (SELECT min(position) FROM jobs WHERE state = 'queued') RETURNING job, request, attempts"
        ).fetchone()
        return None if row is None else StoredJob(*row)

    def return_job(self, job: str) -> None:
        """Puts a job back to its place in the queue, because the service stops. The attempt does not count."""
        self._db.execute("UPDATE jobs SET state = 'queued', attempts = attempts - 1 WHERE job = ?", (job,))

    def end_job(self, job: str, state: str) -> None:
        """Ends a job as `completed` or `failed`, and forgets the oldest of many ended jobs."""
        self._db.execute("UPDATE jobs SET state = ?, ended_at = ? WHERE job = ?", (state, time.time(), job))
        self._db.execute(
            "DELETE FROM jobs WHERE cleared AND position <= (SELECT max(position) FROM jobs) - ?", (_MAX_KNOWN_JOBS,)
        )

    def clear_ended(self, before: float, keep: int) -> list[str]:
        """Marks ended jobs as cleared: jobs that ended before a time, and all but the newest. Returns their ids."""
        rows = self._db.execute(
            "UPDATE jobs SET cleared = 1 WHERE ended_at IS NOT NULL AND NOT cleared AND (ended_at <= ?"
            " OR position NOT IN (SELECT position FROM jobs WHERE ended_at IS NOT NULL ORDER BY position DESC LIMIT ?))"
            " RETURNING job",
            (before, keep),
        ).fetchall()
        return [job for (job,) in rows]

    def remove_message(self, position: int) -> None:
        self._db.execute("DELETE FROM outbox WHERE position = ?", (position,))

    def add_film(self, name: str, size_bytes: int) -> None:
        self._db.execute("INSERT INTO films (name, size_bytes) VALUES (?, ?)", (name, size_bytes))

    def films(self) -> list[tuple[str, int]]:
        """Names and sizes of all films, newest first."""
        return self._db.execute("SELECT name, size_bytes FROM films ORDER BY position DESC").fetchall()

    def remove_film(self, name: str) -> None:
        self._db.execute("DELETE FROM films WHERE name = ?", (name,))

    def _count(self, query: str, *values: str) -> int:
        (count,) = self._db.execute(query, values).fetchone()
        return int(count)


class Store:
    """Thread-safe. Every write is on the disk when the method returns, and survives a power cut."""

    def __init__(self, path: Path) -> None:
        """Opens the file or creates it. Raises sqlite3.Error or OSError if the file cannot be used."""
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._changed = threading.Event()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        # A killed service leaves its job as `processing`. The job is done again, before later jobs.
        self._db.execute("UPDATE jobs SET state = 'queued' WHERE state = 'processing'")

    def write(self, work: Callable[[Transaction], Result]) -> Result:
        """Runs `work` as one transaction. While the disk is full or fails, waits and tries again.

        Raises StoppedError: the service is stopping and the disk refuses writes.
        """
        logged = False
        while True:
            try:
                with self._lock:
                    result = self._run(work)
                self._changed.set()
                return result
            except sqlite3.OperationalError as failure:
                if not logged:
                    log.warning("the store cannot be written, trying again", reason=str(failure))
                logged = True
            if self._stopped.wait(_RETRY_SECONDS):
                raise StoppedError

    def _run(self, work: Callable[[Transaction], Result]) -> Result:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            result = work(Transaction(self._db))
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return result

    def next_message(self, timeout_s: float) -> Message | None:
        """The oldest unsent message. Waits for one, at most `timeout_s` seconds."""
        self._changed.clear()
        message = self._oldest_message()
        if message is not None or not self._changed.wait(timeout_s):
            return message
        return self._oldest_message()

    def _oldest_message(self) -> Message | None:
        with self._lock:
            row = self._db.execute(
                "SELECT position, topic, payload, retain FROM outbox ORDER BY position LIMIT 1"
            ).fetchone()
        return None if row is None else Message(row[0], row[1], bytes(row[2]), bool(row[3]))

    def remove_message(self, position: int) -> None:
        """Removes an acknowledged message. Raises StoppedError like `write`."""
        self.write(lambda change: change.remove_message(position))

    def stop_waiting(self) -> None:
        """Lets writes that wait for the disk fail."""
        self._stopped.set()
        self._changed.set()

    def close(self) -> None:
        with self._lock:
            self._db.close()
