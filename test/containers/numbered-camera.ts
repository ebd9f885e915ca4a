import { once } from "node:events";
import { connect } from "mqtt";
import { WebSocket } from "ws";
import type { ServerMessage } from "../../contract/socket-messages.ts";
import { topicTree } from "../../contract/topics.ts";

const EVENT = "test.numbered";
const INTERVAL_MS = 100;

export interface NumberedCamera {
  /** Numbers of the events that the broker acknowledged so far. */
  acknowledged(): readonly number[];
  /** Waits until this many further events are acknowledged. */
  acknowledgedAfter(count: number, timeoutMs: number): Promise<void>;
  /** Stops sending and disconnects. */
  pause(): Promise<void>;
  resume(): void;
  end(): Promise<void>;
}

/** A camera that sends numbered events over MQTT with TLS, one after the other, and repeats what is not acknowledged. */
export function startNumberedCamera(options: { id: string; secret: string; port: number }): NumberedCamera {
  const { id, secret, port } = options;
  const session = `boot-${Date.now()}`;
  const topic = topicTree().build({ kind: "camera-event", camera: id, event: EVENT });
  const acknowledged: number[] = [];
  let timer: NodeJS.Timeout | undefined;
  let number = 0;
  let isPaused = false;
  const client = connect({
    ...{ protocol: "mqtts", host: "127.0.0.1", port, rejectUnauthorized: false },
    ...{ clientId: `camera-${id}`, username: id, password: secret, clean: false, keepalive: 10, reconnectPeriod: 500 },
  });
  // The client reconnects by itself.
  client.on("error", () => undefined);
  client.on("connect", () => send());

  function send(): void {
    clearTimeout(timer);
    if (isPaused || !client.connected) return;
    const sent = acknowledged.at(-1) === number ? ++number : Math.max(number, 1);
    number = sent;
    const envelope = {
      v: 1,
      id: `${session}-${sent}`,
      timestamp: new Date().toISOString(),
      event: EVENT,
      data: { number: sent },
    };
    client.publish(topic, JSON.stringify(envelope), { qos: 1 }, (error) => {
      if (error === undefined || error === null) {
        if (acknowledged.at(-1) !== sent) acknowledged.push(sent);
        clearTimeout(timer);
        timer = setTimeout(send, INTERVAL_MS);
      }
    });
  }

  return {
    acknowledged: () => acknowledged,
    async acknowledgedAfter(count, timeoutMs) {
      const [wanted, end] = [acknowledged.length + count, performance.now() + timeoutMs];
      while (acknowledged.length < wanted) {
        if (performance.now() > end)
          throw new Error(`only ${acknowledged.length} of ${wanted} events are acknowledged`);
        await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
      }
    },
    async pause() {
      isPaused = true;
      await client.endAsync(true);
    },
    resume() {
      isPaused = false;
      client.reconnect();
    },
    async end() {
      clearTimeout(timer);
      await client.endAsync(true);
    },
  };
}

/** How often each number is in the journal, read by the channel of the camera from its first position. */
export async function readNumbers(url: string, key: string, camera: string): Promise<Map<number, number>> {
  const response = await fetch(`${url}/auth/token`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}` },
    body: JSON.stringify({ user_id: "container-test", permissions: ["camera:read"] }),
  });
  const { token } = (await response.json()) as { token: string };
  const socket = new WebSocket(`${url.replace("http", "ws")}/ws`);
  const counts = new Map<number, number>();
  const channel = `camera:${camera}`;
  let isReading = false;
  let hasLeft = false;
  const done = new Promise<void>((resolve, reject) => {
    socket.on("close", (code) => reject(new Error(`the server closed the WebSocket with ${code}`)));
    socket.on("message", (data) => {
      const message: ServerMessage = JSON.parse(String(data));
      if (message.type === "subscription_result" && !isReading) {
        isReading = true;
        socket.send(JSON.stringify({ type: "unsubscribe", channel }));
        socket.send(JSON.stringify({ type: "subscribe", channel, since: { epoch: message.epoch, position: 0 } }));
      }
      if (message.type === "dashboard_event" && message.event === EVENT && message.snapshot !== true) {
        const { number } = message.data as { number: number };
        counts.set(number, (counts.get(number) ?? 0) + 1);
      }
      if (message.type === "unsubscription_result") {
        hasLeft = true;
        counts.clear();
      }
      if (message.type === "caught_up" && hasLeft) resolve();
    });
  });
  await once(socket, "open");
  socket.send(JSON.stringify({ type: "auth", token }));
  socket.send(JSON.stringify({ type: "subscribe", channel }));
  await done;
  socket.terminate();
  return counts;
}
