import { expect } from "vitest";
import { WAIT_MS } from "../support/long-form.ts";
import type { Publisher } from "./publisher.ts";
import { type DeliveryFaults, SessionClient } from "./session-client.ts";
import { ShareCrowd, type ShareFaults } from "./share-crowd.ts";

interface CrowdOptions {
  /**
   * Whether some nodes are of the version before, which knows neither MQTT 5 nor share groups. Then there are no groups, and
   * sessions of MQTT 5 only beside those of MQTT 3.1.1. Default: no.
   */
  hasEarlierNodes?: boolean;
}

/**
 * One session that is always connected, one that is away half of the time, and a share group, of each QoS. Half of the
 * sessions are of MQTT 5.
 */
export class SessionCrowd {
  readonly always: readonly SessionClient[];
  readonly flapping: readonly SessionClient[];
  readonly groups: readonly ShareCrowd[];

  constructor(port: number, { hasEarlierNodes = false }: CrowdOptions = {}) {
    const options = { port, filters: ["skylapse/v1/cameras/+/events/#", "outside/#"] };
    const client = (name: string, qos: 1 | 2, isFive: boolean) =>
      new SessionClient({ ...options, name: `${name}-${qos}${isFive ? "-mqtt5" : ""}`, qos, isFive });
    const clients = (name: string, qosOfFive: 1 | 2) => [
      ...([1, 2] as const).map((qos) => client(name, qos, qos === qosOfFive && !hasEarlierNodes)),
      ...(hasEarlierNodes ? [client(name, qosOfFive, true)] : []),
    ];
    this.always = clients("always", 2);
    this.groups = hasEarlierNodes ? [] : [new ShareCrowd(port, 1), new ShareCrowd(port, 2)];
    this.flapping = clients("flapping", 1);
  }

  get all(): readonly SessionClient[] {
    return [...this.always, ...this.flapping];
  }

  get #clients(): readonly SessionClient[] {
    return [...this.all, ...this.groups.flatMap(({ members }) => members)];
  }

  get #leaving(): readonly SessionClient[] {
    return [...this.flapping, ...this.groups.flatMap(({ flapping }) => flapping)];
  }

  async subscribed(): Promise<void> {
    await Promise.all(this.#clients.map(({ subscribed }) => subscribed));
  }

  /** Lets the flapping sessions leave or come. */
  toggle(): void {
    for (const client of this.#leaving) {
      if (client.isAway) client.come();
      else client.leave(Math.random() < 0.5 ? "cut" : "disconnect");
    }
  }

  comeAll(): void {
    for (const client of this.#leaving) client.come();
  }

  stop(): void {
    for (const client of this.#clients) client.stop();
  }

  /**
   * Waits until each session has everything that the publishers were acknowledged. Prints how many publications of
   * QoS 1 were repeated.
   */
  async expectNoFaults(publishers: readonly Publisher[]): Promise<void> {
    const faults = () => this.all.map((client) => ({ name: client.name, ...client.faults(publishers) }));
    const ofGroups = () => this.groups.map((group) => group.faults(publishers));
    const lost = () => [...faults(), ...ofGroups()].reduce((sum, one) => sum + one.lost, 0);
    try {
      await expect.poll(lost, { timeout: WAIT_MS }).toBe(0);
    } finally {
      process.stdout.write(`${[...faults(), ...ofGroups()].map(summary).join("\n")}\n`);
    }
    const none: Omit<DeliveryFaults, "repeatedQos1" | "connections"> = {
      ...{ lost: 0, outOfOrder: 0, twiceQos2: 0, repeatedOnConnection: 0, wrongQos: 0, sessionsLost: 0 },
      withoutProperty: 0,
    };
    for (const found of faults()) expect(found).toMatchObject(none);
    const noneOfGroup = { lost: 0, twiceQos2: 0, sessionsLost: 0, withoutProperty: 0, idle: 0 };
    for (const found of ofGroups()) expect(found).toMatchObject(noneOfGroup);
  }
}

function summary({ name, ...faults }: (DeliveryFaults & { name: string }) | ShareFaults): string {
  const found = Object.entries(faults).filter(([, count]) => count > 0);
  return `${name}: ${found.map(([what, count]) => `${what} ${count}`).join(", ")}`;
}
