import { connect } from "node:net";
import { clockMicros } from "../process-cpu.ts";
import { EventTemplate, FIRST_NUMBER } from "./event.ts";
import type { Feed } from "./feed.ts";

/** Sends length-prefixed JSON over TCP, because Socket.IO has no input for devices. This costs less than any broker. */
export async function openSocketIoFeed({ port, payloadBytes }: { port: number; payloadBytes: number }): Promise<Feed> {
  const template = new EventTemplate({ session: `feed.${clockMicros().toString(36)}`, payloadBytes });
  const frameBytes = 4 + template.byteLength;
  let next = FIRST_NUMBER;
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  socket.on("error", () => socket.destroy());

  return {
    get next() {
      return next;
    },
    publish(count) {
      const bytes = Buffer.allocUnsafe(count * frameBytes);
      const now = clockMicros();
      for (let offset = 0; offset < bytes.length; offset += frameBytes) {
        bytes.writeUInt32BE(template.byteLength, offset);
        template.writeTo(bytes, offset + 4, next++, now);
      }
      socket.write(bytes);
    },
    // TCP has no acknowledgements of events. The benchmark counts the events at the dashboards instead.
    pending: async () => {},
    close: () => socket.end(),
  };
}
