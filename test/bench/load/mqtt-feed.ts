import { clockMicros } from "../process-cpu.ts";
import { EventTemplate, FIRST_NUMBER } from "./event.ts";
import type { Feed } from "./feed.ts";
import { MqttConnection } from "./mqtt-connection.ts";
import { type Login, publishHead } from "./mqtt-packets.ts";

export interface MqttFeedOptions extends Login {
  port: number;
  topic: string;
  qos: 0 | 1;
  payloadBytes: number;
  /** Called with the number of new acknowledgements. */
  onAcknowledged?: (count: number) => void;
}

const ACKNOWLEDGE_TIMEOUT_MS = 60_000;

/** The numbered events of one MQTT publisher. */
export async function openMqttFeed({ topic, qos, payloadBytes, ...options }: MqttFeedOptions): Promise<Feed> {
  const session = `${options.clientId}.${clockMicros().toString(36)}`;
  const template = new EventTemplate({ session, payloadBytes });
  const { head, idAt } = publishHead(topic, qos, template.byteLength, options.level);
  const frameBytes = head.length + template.byteLength;
  let next = FIRST_NUMBER;
  let messageId = 0;
  let unacknowledged = 0;
  let lost: Error | undefined;
  let waiting: { atMost: number; resolve: () => void; reject: (error: Error) => void } | undefined;

  const connection = new MqttConnection({
    ...options,
    onAcknowledged: (count) => {
      unacknowledged -= count;
      options.onAcknowledged?.(count);
      if (waiting !== undefined && unacknowledged <= waiting.atMost) waiting.resolve();
    },
    onClose: (reason) => {
      lost = new Error(`the publisher ${options.clientId} lost its connection: ${reason}`);
      waiting?.reject(lost);
    },
  });
  await connection.open();

  function publish(count: number): void {
    const bytes = Buffer.allocUnsafe(count * frameBytes);
    const now = clockMicros();
    for (let offset = 0; offset < bytes.length; offset += frameBytes) {
      head.copy(bytes, offset);
      if (qos > 0) {
        messageId = (messageId % 65_535) + 1;
        bytes.writeUInt16BE(messageId, offset + idAt);
        unacknowledged++;
      }
      template.writeTo(bytes, offset + head.length, next++, now);
    }
    connection.write(bytes);
  }

  return {
    get next() {
      return next;
    },
    publish,
    async pending(atMost) {
      if (lost !== undefined) throw lost;
      if (unacknowledged <= atMost) return;
      const timer = setTimeout(() => {
        waiting?.reject(new Error(`${unacknowledged} events are not acknowledged after ${ACKNOWLEDGE_TIMEOUT_MS} ms`));
      }, ACKNOWLEDGE_TIMEOUT_MS);
      try {
        await new Promise<void>((resolve, reject) => {
          waiting = { atMost, resolve, reject };
        });
      } finally {
        clearTimeout(timer);
        waiting = undefined;
      }
    },
    close: () => connection.end(),
  };
}
