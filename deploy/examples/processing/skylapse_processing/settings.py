"""The settings of the service, from environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class SettingsError(Exception):
    """Some settings are missing or wrong. `problems` has one sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Settings:
    """All settings. README.md lists the variables with their meaning, unit and default."""

    service_id: str
    service_secret: str
    mqtt_host: str
    mqtt_port: int
    mqtt_tls: bool
    mqtt_ca: str | None
    topic_root: str
    server_url: str
    server_token: str | None
    server_user: str | None
    server_password: str | None
    pictures_path: Path | None
    data_path: Path
    film_host: str
    film_port: int
    public_url: str | None
    ffmpeg: str
    max_queued_jobs: int
    max_pictures: int
    max_films: int
    max_film_bytes: int
    min_free_bytes: int
    job_visible_seconds: int


def read_settings(env: Mapping[str, str]) -> Settings:
    """Reads all settings.

    The value of a variable `X` may also be in a file, which `X_FILE` names.

    Raises SettingsError: with all problems at once.
    """
    reader = _Reader(env)
    mqtt = urlsplit(reader.text("MQTT_URL") or "mqtt://127.0.0.1:1883")
    tls = mqtt.scheme == "mqtts"
    try:
        mqtt_port = mqtt.port or (8883 if tls else 1883)
    except ValueError:
        mqtt_port = 0
    if mqtt.scheme not in ("mqtt", "mqtts") or not mqtt.hostname or mqtt_port == 0:
        reader.problems.append("MQTT_URL must be an address such as mqtt://127.0.0.1:1883 or mqtts://HOST:8883")
    pictures = reader.text("PICTURES_PATH")
    settings = Settings(
        service_id=reader.text("SERVICE_ID") or "processing",
        service_secret=reader.text("SERVICE_SECRET") or "",
        mqtt_host=mqtt.hostname or "",
        mqtt_port=mqtt_port,
        mqtt_tls=tls,
        mqtt_ca=reader.text("MQTT_CA"),
        topic_root=reader.text("TOPIC_ROOT") or "skylapse/v1",
        server_url=reader.address("SKYLAPSE_URL") or "http://127.0.0.1:8082",
        server_token=reader.text("SKYLAPSE_TOKEN"),
        server_user=reader.text("SKYLAPSE_USER"),
        server_password=reader.text("SKYLAPSE_PASSWORD"),
        pictures_path=Path(pictures) if pictures else None,
        data_path=Path(reader.text("DATA_PATH") or "processing-data"),
        film_host=reader.text("FILM_HOST") or "127.0.0.1",
        film_port=reader.number("FILM_PORT", 8090, 0, 65535),
        # Films below "/" have addresses without a host.
        public_url="" if reader.text("PUBLIC_URL") == "/" else reader.address("PUBLIC_URL"),
        ffmpeg=reader.text("FFMPEG") or "ffmpeg",
        max_queued_jobs=reader.number("MAX_QUEUED_JOBS", 20, 1, 1000),
        max_pictures=reader.number("MAX_PICTURES", 20_000, 1, 999_999),
        max_films=reader.number("MAX_FILMS", 100, 1, 100_000),
        max_film_bytes=reader.number("MAX_FILM_BYTES", 10 * 1024**3, 1),
        min_free_bytes=reader.number("MIN_FREE_BYTES", 256 * 1024**2, 0),
        job_visible_seconds=reader.number("JOB_VISIBLE_SECONDS", 3600, 1),
    )
    if not settings.service_secret:
        reader.problems.append(
            f"SERVICE_SECRET is missing: `npx skylapse service add {settings.service_id}` prints the secret"
        )
    if not _ID.fullmatch(settings.service_id):
        reader.problems.append("SERVICE_ID must be 1 to 63 of a-z, 0-9 and '-', and begin with a letter or digit")
    if (settings.server_user is None) != (settings.server_password is None):
        reader.problems.append("SKYLAPSE_USER and SKYLAPSE_PASSWORD must both be set, or neither")
    if settings.public_url is None and settings.film_host not in ("127.0.0.1", "localhost"):
        reader.problems.append(
            f"PUBLIC_URL is missing: the address at which browsers reach {settings.film_host}:{settings.film_port},"
            " or / if the proxy of the server passes /films/ on"
        )
    if reader.problems:
        raise SettingsError(reader.problems)
    return settings


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []

    def text(self, name: str) -> str | None:
        path = self._env.get(f"{name}_FILE")
        if not path:
            return self._env.get(name) or None
        try:
            return Path(path).read_text(encoding="utf-8").strip() or None
        except OSError as error:
            self.problems.append(f"{name}_FILE cannot be read: {error.strerror} ({path})")
            return None

    def number(self, name: str, default: int, lowest: int, highest: int | None = None) -> int:
        text = self.text(name)
        if text is None:
            return default
        if re.fullmatch(r"\d{1,15}", text) and lowest <= int(text) and (highest is None or int(text) <= highest):
            return int(text)
        limits = f"{lowest} or more" if highest is None else f"from {lowest} to {highest}"
        self.problems.append(f'{name} must be a whole number, {limits}, and not "{text}"')
        return default

    def address(self, name: str) -> str | None:
        text = self.text(name)
        if text is None:
            return None
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            self.problems.append(f"{name} must be an address such as http://127.0.0.1:8082")
        return text.rstrip("/")
