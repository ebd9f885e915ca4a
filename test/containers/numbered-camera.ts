import { connect } from "mqtt";
import { topicTree } from "../../contract/topics.ts";

export const EVENT = "test.numbered";
const INTERVAL_MS = 100;

export interface NumberedCamera {
  /** Numbers of the events that the broker acknowledged so far. */
  acknowledged(): readonly number[];
  /** Waits until this many further events are acknowledged. */
  acknowledgedAfter(count: number, timeoutMs: number): Promise<void>;
  /** Publishes a preview. @param capture the id of the picture, which contains the time */
  picture(capture: string, jpeg: Buffer): Promise<void>;
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
    // A node whose Redis is away refuses connections for a moment.
    reconnectOnConnackError: true,
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
    async picture(capture, jpeg) {
      await client.publishAsync(topicTree().build({ kind: "camera-preview", camera: id, capture }), jpeg, { qos: 1 });
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
