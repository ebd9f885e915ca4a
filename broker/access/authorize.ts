import type { AedesPublishPacket, Client, PublishPacket, Subscription } from "aedes";
import type { Logger } from "pino";
import { MAX_JSON_DEPTH } from "../../contract/events.ts";
import type { TopicTree } from "../../contract/topics.ts";
import type { AccessRefusal, AuditedAct } from "../../platform/identity.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { RateLimiter } from "../../platform/rate-limiter.ts";
import { NotAcceptedError, SlowClientError } from "../aedes/errors.ts";
import type { ForwardingBroker } from "../aedes/forwarding-broker.ts";
import { WriteBatch } from "../aedes/write-batch.ts";
import { type ClientAccess, type ClientRegistry, grantedQos } from "./client-registry.ts";
import { nameIssuer } from "./name-issuer.ts";
import { actOf, ownerTopic, type PublishDecision } from "./permission-sets.ts";
import type { PublicationSender, RefusedPublications } from "./refused-publications.ts";
import { type RetainedLimits, RetainedRoom } from "./retained-room.ts";
import type { RetainedLookup } from "./retained-topics.ts";
import { sessionName } from "./session-names.ts";
import type { Wills } from "./wills.ts";

/** What Aedes waits for. */
export interface Answers {
  /** Whether ingest may refuse it for what it is: then it is not handed on before. */
  isLookedAt: boolean;
  callback: Callback;
  /** Called in the place of `callback` when it was refused, and is to be acknowledged. */
  refused: Callback;
}

/** Whose publication it is. */
export interface Sender extends PublicationSender {
  /** Undefined for a will. */
  readonly pace?: RateLimiter;
}

/** Holds back the acknowledgement of a publication until it is durable. */
export interface PublicationGate {
  /** @param client null for the will of a client of an earlier run */
  pass(client: Client | null, sender: Sender, packet: PublishPacket, answers: Answers): void;
}

export interface AuthorizeOptions extends RetainedLimits {
  tree: TopicTree;
  registry: ClientRegistry;
  wills: Wills;
  /** Whether the identity is a device that is removed. */
  isRemoved(identity: string): boolean;
  broker: ForwardingBroker;
  gate: PublicationGate;
  refused: RefusedPublications;
  /** Takes a filter that is refused now out of the client's stored session. */
  forgetSubscription(client: Client, filter: string): void;
  /** Whether a publication that the client's session queues is not to be delivered now: see `storage/replays.ts`. */
  leavesToQueue(client: Client, brokerCounter: number): boolean;
  retainedTopics(): RetainedLookup;
  /** Whether a retained message that is about to be delivered is still what its topic holds. */
  isNewestRetained(topic: string, payload: Uint8Array): boolean;
  maxPayloadBytes: number;
  maxSubscriptions: number;
  maxQueuedBytes: number;
  maxUnsentBytes: number;
  onRefused(refusal: AccessRefusal): void;
  onCarriedOut(act: AuditedAct): void;
  logger: Logger;
}

/** What came of the rules since the start. */
export interface AuthorizeCounts {
  /** Publications of clients that the rules let through. */
  received: number;
  refusedSubscriptions: number;
  /** Messages handed to clients. */
  delivered: number;
  /** QoS 0 messages not given to a client that does not keep up. */
  shed: number;
  /** Connections ended because they did not keep up with QoS 1 or 2. */
  slowClients: number;
}

/** Retained messages that cost a subscriber as much as one publication: they are read from the store and written, no more. */
const RETAINED_PER_MESSAGE = 4;

type Callback = (error?: Error | null) => void;

/**
 * The rules of access, as Aedes' hooks: who may publish what, subscribe to what and receive what. They are asked
 * at each message and each delivery, so that nothing stored earlier opens a way around them.
 *
 * A client that does not keep up: with more than `maxQueuedBytes` waiting for it, messages of QoS 0 are not given to
 * it, for it was never promised them. Those of QoS 1 and 2 may not be skipped: with more than `maxUnsentBytes` waiting its
 * connection ends. A persistent session then finds everything in its queue, in order and at its own pace; to a clean
 * session a connection that ends is the honest way to say that messages are missing.
 */
export class Authorize {
  readonly #options: AuthorizeOptions;
  readonly #batch = new WriteBatch();
  readonly #barred = new WeakMap<Client, ClientAccess>();
  readonly #room: RetainedRoom;
  readonly #refusedFilters = new LimitedLog();
  #stopping = false;
  /** Not retained because their camera or service has too many. */
  refusedRetained = 0;
  readonly counts: AuthorizeCounts = {
    received: 0,
    refusedSubscriptions: 0,
    delivered: 0,
    shed: 0,
    slowClients: 0,
  };

  constructor(options: AuthorizeOptions) {
    this.#options = options;
    this.#room = new RetainedRoom(options.retainedTopics, options);
  }

  /** From now on wills are kept and not published: it is the broker that goes, not its clients. */
  stop(): void {
    this.#stopping = true;
    this.#refusedFilters.stop();
  }

  /**
   * The client is about to be disconnected because it may no longer do what it did. Its will was allowed at CONNECT and comes
   * only now: what that says of the client itself stands, and what it would do to others is refused. Otherwise to revoke
   * a token would be to give the command that its bearer has laid down for this moment.
   */
  bar(client: Client, access: ClientAccess): void {
    this.#barred.set(client, access);
  }

  /**
   * Gates PUBACK and PUBREC, as its callback is called before Aedes writes them.
   * @param client null for the will of a client of an earlier run
   */
  readonly publish = (client: Client | null, packet: PublishPacket, callback: Callback): void => {
    if (client === null || client.closed) {
      const identity = this.#options.wills.identityOf(packet);
      if (identity !== undefined) {
        const barred = client === null ? undefined : this.#barred.get(client);
        if (barred === undefined || saysOfItself(barred.writes.of(packet.topic)))
          this.#publishWill(client, identity, packet, callback);
        else {
          const why = "a will of a client that may do it no more";
          this.#refusePublish(barred, packet, { reason: "not_allowed", why }, callback);
        }
        return;
      }
      if (client === null) {
        // Aedes turns an error here into an unhandled rejection. Nothing comes this way but wills.
        callback(null);
        return;
      }
    }
    const access = this.#options.registry.of(client);
    if (access === undefined) {
      // Its connection has just ended.
      callback(new NotAcceptedError("the client is not known"));
      return;
    }
    const decision = access.writes.of(packet.topic);
    if (decision.kind === "refused") {
      this.#refusePublish(access, packet, decision, callback);
    } else if (packet.payload.length > this.#options.maxPayloadBytes) {
      // What is beyond the largest packet does not come this far.
      const why = `a payload of ${packet.payload.length} bytes or more, where MAX_PAYLOAD_BYTES allows ${this.#options.maxPayloadBytes}`;
      this.#refusePublish(access, packet, { reason: "too_large", why }, callback);
    } else if (
      decision.kind === "ingest" &&
      decision.act?.action === "command" &&
      !nameIssuer(packet, access.identity)
    ) {
      const why = `a command nested deeper than ${MAX_JSON_DEPTH} levels`;
      this.#refusePublish(access, packet, { reason: "too_deep", why }, callback);
    } else {
      this.counts.received++;
      if (decision.kind === "ingest") {
        packet.retain &&= decision.retains && this.#mayRetain(access, decision.owner, packet);
        this.#options.gate.pass(client, access, packet, this.#answers(access, decision, callback));
      } else {
        packet.dup = false;
        packet.retain &&= this.#mayRetain(access, undefined, packet);
        callback(null);
      }
    }
  };

  /** Answers a filter that is refused with SUBACK 128 [MQTT-3.9.3-2]; the others of the same packet stand. */
  readonly subscribe = (
    client: Client,
    subscription: Subscription,
    callback: (error: Error | null, subscription?: Subscription | null) => void,
  ): void => {
    const { registry, maxSubscriptions, logger } = this.#options;
    const access = registry.of(client);
    const filter = subscription.topic;
    const why =
      access === undefined
        ? "the client is not known"
        : access.filters.size >= maxSubscriptions && !access.filters.has(filter)
          ? `it has ${maxSubscriptions} subscriptions already`
          : access.set.subscribeProblem(filter);
    if (access !== undefined && why === undefined) {
      access.filters.set(filter, subscription.qos);
      // Before its CONNACK Aedes gives a session its filters back, and sends no retained messages for them.
      if (client.connected) {
        const { messages, bytes } = this.#options.retainedTopics().weigh(filter);
        access.pace.spend(messages / RETAINED_PER_MESSAGE, bytes);
      }
      callback(null, subscription);
      return;
    }
    this.counts.refusedSubscriptions++;
    const { identity, clientId } = access ?? sessionName(client.id);
    this.#refusedFilters.note(identity ?? "unknown", (times) => {
      logger.warn({ identity, clientId, filter, why, times }, "a subscription is refused");
    });
    if (access !== undefined) this.#tellRefusal("subscribe", access, filter);
    // Stored by an earlier connection that was allowed more.
    if (!client.clean) this.#options.forgetSubscription(client, filter);
    callback(null, null);
  };

  /** Asked at every delivery, retained and queued messages included. */
  readonly forward = (client: Client, packet: AedesPublishPacket): AedesPublishPacket | null => {
    const access = this.#options.registry.of(client);
    // A client whose connection has just ended gets nothing, but a null here would take the message out of its queue.
    if (access === undefined) return client.conn.destroyed ? packet : null;
    if (!access.set.mayReceive(packet.topic, packet.payload)) return null;
    if (
      packet.retain &&
      typeof packet.payload !== "string" &&
      !this.#options.isNewestRetained(packet.topic, packet.payload)
    )
      return null;
    // Retained messages, and those read from the queue, which have an id already, wait for the client by themselves.
    if (!packet.retain && packet.messageId === undefined) {
      const { leavesToQueue, maxQueuedBytes } = this.#options;
      if (packet.qos > 0 && leavesToQueue(client, packet.brokerCounter) && grantedQos(access, packet.topic) > 0)
        return null;
      if (client.conn.writableLength > maxQueuedBytes) {
        this.#batch.release(client.conn);
        if (client.conn.writableLength > maxQueuedBytes && this.#isBehind(client, access, packet)) return null;
      }
      // Of live deliveries alone: a message of the queue may be of an earlier run, whose numbers were the same.
      access.lastForwarded = packet.brokerCounter;
    }
    this.counts.delivered++;
    this.#batch.hold(client.conn);
    access.owedAnswers += packet.qos;
    if (packet.qos === 0) return packet;
    if (packet.qos === 2 && packet.messageId === undefined && grantedQos(access, packet.topic) === 1) {
      // Aedes lowers it only for a filter without wildcards [MQTT-3.8.4-6].
      return { ...packet, qos: 1 };
    }
    if (access.receipts !== undefined && this.#isCommand(packet.topic)) return access.receipts.track(packet);
    return packet;
  };

  #isCommand(topic: string): boolean {
    return this.#options.tree.parse(topic)?.kind === "camera-command";
  }

  #publishWill(client: Client | null, identity: string, packet: PublishPacket, callback: Callback): void {
    const { tree, gate, wills, broker, isRemoved } = this.#options;
    const keep = (): void => {
      wills.keep(packet);
      broker.skip(packet);
      callback(null);
    };
    const act = actOf(tree.parse(packet.topic));
    // Where it was sent from is not kept with it.
    const sender = { identity, clientId: client === null ? "" : sessionName(client.id).clientId };
    if (this.#stopping) keep();
    else if (isRemoved(identity)) {
      // Nobody is left to clear what it would retain, and a device that is gone for good is not offline.
      broker.skip(packet);
      callback(null);
    } else if (!tree.owns(packet.topic)) {
      packet.retain &&= this.#mayRetain(sender, undefined, packet);
      callback(null);
    } else if (client === null && act?.action === "command") {
      // Minutes or days later: whether its sender may still give it is not known, nor whether it is still wanted.
      this.#options.onCarriedOut({ ...act, who: identity, address: "unknown", outcome: "refused" });
      broker.skip(packet);
      callback(null);
    } else {
      packet.retain &&= this.#mayRetain(sender, ownerTopic(tree, packet.topic), packet);
      const answers = this.#answers({ identity, address: "unknown" }, { act, isLookedAt: true }, callback);
      gate.pass(client, sender, packet, {
        ...answers,
        callback: (error) => (error ? keep() : answers.callback(null)),
      });
    }
  }

  /** Beyond its room a message is delivered, but not retained. */
  #mayRetain(
    { identity, clientId }: PublicationSender,
    owner: string | undefined,
    { topic, payload }: PublishPacket,
  ): boolean {
    if (payload.length === 0) return true;
    const problem = this.#room.problem(owner, topic, payload.length);
    if (problem === undefined) return true;
    this.refusedRetained++;
    const why = `it is delivered and not retained: ${problem}`;
    this.#options.refused.add({ identity, clientId }, topic, { reason: "no_room", why });
    return false;
  }

  /** Acknowledged as what is accepted is, and neither kept nor forwarded. */
  #refusePublish(
    access: ClientAccess,
    packet: PublishPacket,
    refusal: Parameters<RefusedPublications["add"]>[2],
    callback: Callback,
  ): void {
    this.#options.refused.add(access, packet.topic, refusal);
    this.#tellRefusal("publish", access, packet.topic);
    this.#options.broker.skip(packet);
    callback(null);
  }

  /** Notes in the audit log what becomes of a command or a broadcast. */
  #answers(
    { identity, address }: Pick<ClientAccess, "identity" | "address">,
    { act, isLookedAt }: Pick<Extract<PublishDecision, { kind: "ingest" }>, "act" | "isLookedAt">,
    done: Callback,
  ): Answers {
    if (act === undefined) return { isLookedAt, callback: done, refused: done };
    const note = (outcome: AuditedAct["outcome"]) =>
      this.#options.onCarriedOut({ ...act, who: identity, address, outcome });
    return {
      isLookedAt,
      callback: (error) => {
        note(error ? "refused" : act.action === "command" ? "issued" : "done");
        done(error);
      },
      refused: () => {
        note("refused");
        done(null);
      },
    };
  }

  #tellRefusal(action: AccessRefusal["action"], { identity, address }: ClientAccess, target: string): void {
    this.#options.onRefused({ action, who: identity, address, target, outcome: "permission_denied" });
  }

  /** @returns true when the message is not to be written */
  #isBehind(client: Client, access: ClientAccess, packet: AedesPublishPacket): boolean {
    if (packet.qos === 0 || grantedQos(access, packet.topic) === 0) {
      this.counts.shed++;
      return true;
    }
    const waiting = client.conn.writableLength;
    if (waiting > this.#options.maxUnsentBytes && !client.conn.destroyed) {
      this.counts.slowClients++;
      const { identity, clientId } = access;
      this.#options.logger.warn({ identity, clientId, waiting }, "a client does not keep up and is disconnected");
      client.conn.destroy(new SlowClientError(`${waiting} bytes wait for the client, and it may not miss the next`));
    }
    // Written to nowhere: were it refused, Aedes would take it out of the client's queue.
    return false;
  }
}

/** Rather than to others, as a command does, a broadcast, or whatever is outside the root. */
function saysOfItself(decision: PublishDecision): boolean {
  return decision.kind === "ingest" && decision.act === undefined;
}
