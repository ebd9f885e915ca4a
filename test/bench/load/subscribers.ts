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
  /** Whether the server knows the subscriptions from earlier connections. Default false. */
  isSubscribed?: boolean;
}

/** Connections that are opened together: a slow machine answers so many within the limits of time. */
const MAX_OPENING = 100;

/** MQTT subscribers that count received events. */
export async function openSubscribers(options: SubscribersOptions): Promise<Tally> {
  const { port, filter, qos, logins, first, isSubscribed = false } = options;
  const tally = new Tally("subscriber", logins.length, first);
  await openEach(logins, async (login, index) => {
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
    if (!isSubscribed) await connection.subscribe(filter, qos);
  });
  return tally;
}

/** Creates sessions of clients that are away. */
export async function openAwaySessions({
  port,
  filter,
  qos,
  logins,
}: Omit<SubscribersOptions, "first">): Promise<void> {
  await openEach(logins, async (login) => {
    const connection = new MqttConnection({ ...login, clean: false, port, onClose: () => {} });
    await connection.open();
    await connection.subscribe(filter, qos);
    await connection.ended();
  });
}

async function openEach(logins: readonly Login[], open: (login: Login, index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const openSome = async () => {
    for (let index = next++; index < logins.length; index = next++) {
      const login = logins[index];
      if (login !== undefined) await open(login, index);
    }
  };
  await Promise.all(Array.from({ length: MAX_OPENING }, openSome));
}
