import { MAX_TOPIC_LENGTH } from "../../contract/topics.ts";
import { ProtocolError, ReasonCode } from "./reason-codes.ts";

/** Topic aliases that a client may use. Each keeps a topic in memory. */
export const MAX_INCOMING_ALIASES = 64;
/** Topic aliases that the server uses for one client. */
const MAX_OUTGOING_ALIASES = 64;
/** Topics that were sent once to the client, and get an alias when they are sent again. */
const MAX_CANDIDATES = 256;

/** The topics of a client's aliases. They end with the connection [MQTT-3.3.2-7]. */
export class IncomingAliases {
  readonly #topics = new Map<number, string>();

  /** @param topic empty: the topic that the alias stands for @throws {ProtocolError} */
  topicOf(topic: string, alias: number | undefined): string {
    if (alias === undefined) {
      if (topic === "") throw new ProtocolError(ReasonCode.protocolError, "a PUBLISH without topic and topic alias");
      return topic;
    }
    if (alias === 0 || alias > MAX_INCOMING_ALIASES)
      throw new ProtocolError(
        ReasonCode.topicAliasInvalid,
        `the topic alias ${alias} is not 1 to ${MAX_INCOMING_ALIASES}`,
      );
    if (topic.length > MAX_TOPIC_LENGTH)
      throw new ProtocolError(ReasonCode.topicInvalid, `the topic has more than ${MAX_TOPIC_LENGTH} characters`);
    if (topic !== "") {
      this.#topics.set(alias, topic);
      return topic;
    }
    const known = this.#topics.get(alias);
    if (known === undefined) throw new ProtocolError(ReasonCode.protocolError, `the topic alias ${alias} has no topic`);
    return known;
  }
}

interface OutgoingAlias {
  readonly alias: number;
  /** Whether the client knows the alias. */
  readonly isKnown: boolean;
}

/** Gives an alias to each topic that is sent to the client more than once, while there are aliases. */
export class OutgoingAliases {
  readonly #maximum: number;
  readonly #aliases = new Map<string, number>();
  readonly #candidates = new Set<string>();

  /** @param maximum what the client allows [MQTT-3.1.2-26] */
  constructor(maximum: number) {
    this.#maximum = Math.min(maximum, MAX_OUTGOING_ALIASES);
  }

  /** Undefined: the topic is sent without an alias. */
  aliasOf(topic: string): OutgoingAlias | undefined {
    if (this.#maximum === 0) return undefined;
    const alias = this.#aliases.get(topic);
    if (alias !== undefined) return { alias, isKnown: true };
    if (this.#aliases.size >= this.#maximum) return undefined;
    if (!this.#candidates.delete(topic)) {
      if (this.#candidates.size >= MAX_CANDIDATES) this.#candidates.clear();
      this.#candidates.add(topic);
      return undefined;
    }
    const next = this.#aliases.size + 1;
    this.#aliases.set(topic, next);
    return { alias: next, isKnown: false };
  }
}
