import { findNumber } from "./event.ts";
import { MqttConnection } from "./mqtt-connection.ts";
import type { Login } from "./mqtt-packets.ts";
import { Tally } from "./tally.ts";

export interface SubscribersOptions {
  port: number;
  filter: string;
  qos: 0 | 1;
  logins: readonly Login[];
  first: number;
}

/** MQTT subscribers that count received events. */
export async function openSubscribers({ port, filter, qos, logins, first }: SubscribersOptions): Promise<Tally> {
  const tally = new Tally("subscriber", logins.length, first);
  for (const [index, login] of logins.entries()) {
    const connection = new MqttConnection({
      ...login,
      port,
      onMessage: (buffer, start, end) => {
        const at = findNumber(buffer, start, end);
        if (at !== -1) tally.record(index, buffer, at);
      },
      onClose: (reason) => tally.fail(`subscriber ${index} lost its connection: ${reason}`),
    });
    await connection.open();
    await connection.subscribe(filter, qos);
  }
  return tally;
}
