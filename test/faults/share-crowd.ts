import type { Publisher } from "./publisher.ts";
import { SessionClient } from "./session-client.ts";

const FILTERS = ["skylapse/v1/cameras/+/events/#", "outside/#"];

/** What went wrong with the deliveries to a group. All but `repeatedQos1` are faults of the server. */
export interface ShareFaults {
  name: string;
  lost: number;
  /** Publications of QoS 2 that arrived twice, at one member or at two. */
  twiceQos2: number;
  repeatedQos1: number;
  sessionsLost: number;
  /** Deliveries to members of MQTT 5 without the user property that the publisher set. */
  withoutProperty: number;
  /** Members that were always connected and got nothing. */
  idle: number;
}

/**
 * Three members of shared subscriptions at one QoS, with persistent sessions: one of MQTT 3.1.1, one of MQTT 5, and one of
 * MQTT 5 that is away half of the time.
 */
export class ShareCrowd {
  readonly name: string;
  readonly members: readonly SessionClient[];

  constructor(port: number, qos: 1 | 2) {
    this.name = `share-${qos}`;
    const filters = FILTERS.map((filter) => `$share/crowd/${filter}`);
    const options = { port, user: this.name, filters, qos };
    this.members = ["a", "b", "flapping"].map(
      (member) => new SessionClient({ ...options, name: `${this.name}-${member}`, isFive: member !== "a" }),
    );
  }

  get flapping(): readonly SessionClient[] {
    return this.members.slice(2);
  }

  faults(publishers: readonly Publisher[]): ShareFaults {
    const found = this.members.map((member) => member.faults(publishers));
    const sum = (count: (one: (typeof found)[number]) => number) => found.reduce((total, one) => total + count(one), 0);
    const faults = { name: this.name, lost: 0, twiceQos2: sum((one) => one.twiceQos2), repeatedQos1: 0 };
    faults.repeatedQos1 = sum((one) => one.repeatedQos1 + one.repeatedOnConnection);
    for (const { source, qos, acknowledged, isRepeating } of publishers) {
      const isExact = qos === 2 && this.name === "share-2";
      for (const n of acknowledged) {
        const holders = this.members.filter((member) => member.has(source, n)).length;
        if (holders === 0) faults.lost++;
        else if (isExact) faults.twiceQos2 += holders - 1;
        else if (!isRepeating) faults.repeatedQos1 += holders - 1;
      }
    }
    const present = this.members.filter((member) => !this.flapping.includes(member));
    const idle = present.filter((member) => publishers.every(({ source }) => member.count(source) === 0)).length;
    const withoutProperty = sum((one) => one.withoutProperty);
    return { ...faults, sessionsLost: sum((one) => one.sessionsLost), withoutProperty, idle };
  }
}
