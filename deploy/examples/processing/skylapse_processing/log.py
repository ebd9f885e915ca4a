"""The log: one JSON object a line on standard output."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

logger = logging.getLogger("skylapse_processing")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def start_log(level: str) -> None:
    """Starts the log. `level` is a name such as `info`; an unknown name means `info`."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.getLevelNamesMapping().get(level.upper(), logging.INFO))


def info(message: str, **fields: object) -> None:
    """Logs a constant message with its fields."""
    logger.info(message, extra={"fields": fields})


def warning(message: str, **fields: object) -> None:
    """Logs what an operator should know."""
    logger.warning(message, extra={"fields": fields})


def error(message: str, **fields: object) -> None:
    """Logs an unexpected failure with the traceback of the exception that is being handled."""
    logger.error(message, exc_info=True, extra={"fields": fields})
