"""The MQTT link to the server: presence, requests for jobs, and the outbox. Works with paho-mqtt 1.6 and 2."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
import uuid
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt

from . import log
from .messages import Topics
from .settings import Settings
from .store import StoppedError, Store

_KEEPALIVE_SECONDS = 30
_RECONNECT_SECONDS = (1, 10)
_FAREWELL_SECONDS = 1.0
_POLL_SECONDS = 0.5


class Link:
    """Sends the messages of the outbox one after the other, and removes each one when the server has acknowledged it.

    The server writes a message to its disk before the acknowledgement. A message whose acknowledgement was lost is sent
    again, also by the next run of the service; the server recognises the repetition by the id in the envelope.
    """

    def __init__(self, settings: Settings, topics: Topics, store: Store, on_request: Callable[[bytes], None]) -> None:
        """`on_request` gets the payload of each request. The request is acknowledged when `on_request` returns."""
        self._settings = settings
        self._topics = topics
        self._store = store
        self._on_request = on_request
        self._session = uuid.uuid4().hex
        self._client = _new_client(f"service-{settings.service_id}")
        self._acknowledged: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._up = threading.Event()
        self._stopping = threading.Event()
        self._sender = threading.Thread(target=self._send, name="outbox", daemon=True)

    def start(self) -> None:
        """Connects in the background, and reconnects until `stop`."""
        client, settings = self._client, self._settings
        client.username_pw_set(settings.service_id, settings.service_secret)
        if settings.mqtt_tls:
            client.tls_set(ca_certs=settings.mqtt_ca)
        client.will_set(self._topics.link, self._link("offline"), qos=1, retain=True)
        client.reconnect_delay_set(*_RECONNECT_SECONDS)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_message = self._received
        client.on_publish = lambda _client, _userdata, mid, *_: self._acknowledged.put(mid)
        client.connect_async(settings.mqtt_host, settings.mqtt_port, keepalive=_KEEPALIVE_SECONDS)
        client.loop_start()
        self._sender.start()

    def stop(self) -> None:
        """Says goodbye and disconnects, within about 2 s. Unsent messages stay in the store."""
        self._stopping.set()
        self._acknowledged.put(None)
        self._sender.join(_FAREWELL_SECONDS)
        if self._up.is_set():
            farewell = self._client.publish(self._topics.link, self._link("offline"), qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):
                farewell.wait_for_publish(_FAREWELL_SECONDS)
        self._client.disconnect()
        self._client.loop_stop()

    # Last parameters differ between paho-mqtt 1.6 and 2. A code is a number in 1.6, and an object with `value` in 2.

    def _connected(self, client: mqtt.Client, _userdata: object, _flags: object, code: Any, *_: object) -> None:
        if code != 0:
            log.warning("the server refused the connection, trying again", reason=mqtt.connack_string(code))
            return
        log.info("connected to the server", session=self._session)
        client.subscribe(self._topics.requests, qos=1)
        client.publish(self._topics.link, self._link("online"), qos=1, retain=True)
        self._up.set()

    def _disconnected(self, _client: mqtt.Client, *_: object) -> None:
        if self._up.is_set() and not self._stopping.is_set():
            log.warning("the connection to the server is lost, reconnecting")
        self._up.clear()

    def _subscribed(self, _client: mqtt.Client, _userdata: object, _mid: int, codes: Any, *_: object) -> None:
        if any(getattr(code, "value", code) >= 128 for code in codes):
            log.warning("the server refused the subscription: this service gets no jobs", topic=self._topics.requests)

    def _received(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        """paho-mqtt acknowledges the message after this method."""
        try:
            self._on_request(message.payload)
        except StoppedError:
            # Ends the thread of paho-mqtt, because it would acknowledge a request that is not stored.
            raise
        except Exception:
            # The next run of the service gets the request again.
            log.error("a request could not be stored: the service ends")
            os._exit(1)

    def _send(self) -> None:
        while not self._stopping.is_set():
            if not self._up.wait(_POLL_SECONDS):
                continue
            message = self._store.next_message(_POLL_SECONDS)
            if message is None:
                continue
            # After a reconnect, paho-mqtt itself sends an unacknowledged message again.
            mid = self._client.publish(message.topic, message.payload, qos=1, retain=message.retain).mid
            while (acknowledged := self._acknowledged.get()) != mid:
                if acknowledged is None:
                    return
            try:
                self._store.remove_message(message.position)
            except StoppedError:
                return

    def _link(self, status: str) -> bytes:
        return json.dumps({"status": status, "session": self._session}).encode()


def _new_client(client_id: str) -> mqtt.Client:
    """A client with a persistent session: requests wait at the server while the service is away."""
    options: dict[str, Any] = {"client_id": client_id, "clean_session": False, "protocol": mqtt.MQTTv311}
    if hasattr(mqtt, "CallbackAPIVersion"):
        return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, **options)
    return mqtt.Client(**options)
