/** Which versions of the shared formats a node works with. */
export interface SharedFormats {
  /** The version of what this node writes for others: data in Redis, messages to other nodes, scripts. */
  readonly version: number;
  /** This node reads what nodes of this version write, and those nodes read what this node writes. */
  readonly oldest: number;
}

/**
 * The formats of this version. Increase `version` with every change of what nodes share: keys and rows of the journal,
 * of MQTT sessions and of the cluster, messages to other nodes. Set `oldest` to the new version if a node of the version
 * before cannot read the change, or loses something by it: nodes then cannot be upgraded one by one.
 * `rolling-upgrade.test.ts` tries whether they can.
 *
 * | version | oldest | change |
 * |---|---|---|
 * | 1 | 1 | commit ee808ee, which does not announce its version |
 * | 2 | 1 | nodes announce their version, count failed logins in Redis, and index the topics of retained messages; fields of MQTT 5 in rows of sessions and wills, and in messages of QoS 0 |
 * | 3 | 1 | groups of shared subscriptions |
 */
export const SHARED_FORMATS: SharedFormats = { version: 3, oldest: 1 };

/** The formats of nodes that do not announce any. */
export const UNANNOUNCED_FORMATS: SharedFormats = { version: 1, oldest: 1 };

/** A living node, or the data in Redis if the id is empty. */
interface Other {
  readonly id: string;
  readonly name: string;
  readonly formats: SharedFormats;
  /** Milliseconds since 1970. */
  readonly lastSeenAt: number;
}

/** This version cannot work beside a node, or with the data in Redis. */
export class IncompatibleFormatsError extends Error {
  override name = "IncompatibleFormatsError";
  readonly other: Other;

  constructor(own: SharedFormats, other: Other) {
    const { id, name, formats } = other;
    const isData = id === "";
    const who = isData ? "the data in Redis" : `the running node ${id} (${name})`;
    const needs =
      formats.version < own.oldest
        ? `and this version works only with ${own.oldest} and newer`
        : `which works only with ${formats.oldest} and newer, and this version has ${own.version}`;
    const instead = isData
      ? "start the newer version, or restore the backup from before the upgrade"
      : "stop all nodes first, then start the newer version (docs/operations.md#upgrade)";
    super(`${who} has version ${formats.version} of the shared formats, ${needs}: ${instead}`);
    this.other = other;
  }

  /** Whether the other one is alive, and not only not yet known to be dead. @param before an earlier attempt to join */
  isFinal(before: unknown): boolean {
    const { id, lastSeenAt } = this.other;
    if (id === "") return true;
    if (!(before instanceof IncompatibleFormatsError)) return false;
    return before.other.id === id && before.other.lastSeenAt !== lastSeenAt;
  }
}
