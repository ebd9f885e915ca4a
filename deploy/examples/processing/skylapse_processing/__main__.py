"""The program: `python3 -m skylapse_processing`."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
from types import FrameType

from . import log
from .service import ProcessingService
from .settings import SettingsError, read_settings


def main() -> int:
    """Runs until SIGTERM or SIGINT. Exit codes: 0 stopped, 1 cannot start."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    log.start_log(os.environ.get("LOG_LEVEL", "info"))
    try:
        settings = read_settings(os.environ)
        service = ProcessingService(settings)
    except SettingsError as error:
        for problem in error.problems:
            print(f"Cannot start: {problem}", file=sys.stderr)
        return 1
    except (OSError, sqlite3.Error) as error:
        print(f"Cannot start: {error}. Check DATA_PATH, FILM_HOST and FILM_PORT", file=sys.stderr)
        return 1
    service.start()
    log.info("ready", service=settings.service_id, films=service.film_url)
    stop.wait()
    log.info("stopping")
    service.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
