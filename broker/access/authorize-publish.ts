import { MAX_JSON_DEPTH } from "../../contract/events.ts";
import { homeAssistantBranches } from "../../contract/home-assistant.ts";
import type { TopicTree } from "../../contract/topics.ts";
import type { AccessRefusal, AuditedAct } from "../../platform/identity.ts";
import { retainedSize } from "../../platform/publication-log.ts";
import type { RateLimiter } from "../../platform/rate-limiter.ts";
import type { ForwardingBroker } from "../aedes/forwarding-broker.ts";
import type { PropertiedPacket } from "../aedes/propertied-packet.ts";
import type { BrokerClient } from "./broker-client.ts";
import type { ClientAccess, ClientRegistry } from "./client-registry.ts";
import { NotAcceptedError } from "./errors.ts";
import { hasTooLargeProperties, largePropertiesProblem } from "./large-properties.ts";
import { nameIssuer } from "./name-issuer.ts";
import { actOf, ownerTopic, type PublishDecision } from "./permission-sets.ts";
import type { PublicationRefusal, PublicationSender, RefusedPublications } from "./refused-publications.ts";
import { type EnteredRoom, type RetainedLimits, RetainedRoom } from "./retained-room.ts";
import type { RetainedLookup } from "./retained-topics.ts";
import { sessionName } from "./session-names.ts";
import type { WillOwner, Wills } from "./wills.ts";

type Callback = (error?: Error | null) => void;

export interface PublishCallbacks {
  /** Ingest may refuse the payload: the publication is forwarded only after ingest has accepted it. */
  awaitsIngest: boolean;
  /** The topic is outside the root: ingest does not know the publication. Default: false. */
  isForeign?: boolean;
  /** Acknowledges the publication, or closes the connection when called with an error. */
  callback: Callback;
  /** Acknowledges a publication that ingest has refused for good. */
  refused: Callback;
  /** Left once the publication is stored or refused. Undefined: the publication is not retained. */
  room?: EnteredRoom | undefined;
}

export interface Sender extends PublicationSender {
  /** Undefined for the sender of a will. */
  readonly rateLimiter?: RateLimiter;
  /** The publication is the will of the client with this session key. Default: no will. */
  readonly willOf?: string;
}

interface AuthorizePublishOptions extends RetainedLimits {
  tree: TopicTree;
  registry: ClientRegistry;
  wills: Wills;
  /** Whether the identity is a removed device. */
  isRemoved(identity: string): boolean;
  broker: ForwardingBroker;
  gate: {
    /** @param client null for the will of a client of an earlier run or of another node */
    submit(client: BrokerClient | null, sender: Sender, packet: PropertiedPacket, callbacks: PublishCallbacks): void;
  };
  refusedPublications: RefusedPublications;
  retainedTopics(): RetainedLookup;
  maxPayloadBytes: number;
  /** The largest size of the MQTT 5 properties that are stored with a publication. */
  maxPropertiesBytes: number;
  onRefused(refusal: AccessRefusal): void;
  onCarriedOut(act: AuditedAct): void;
}

/** Aedes' hook for each publication of a client and for each will. */
export class AuthorizePublish {
  readonly #options: AuthorizePublishOptions;
  readonly #barred = new WeakMap<BrokerClient, ClientAccess>();
  readonly #room: RetainedRoom;
  #isStopping = false;
  received = 0;

  constructor(options: AuthorizePublishOptions) {
    this.#options = options;
    this.#room = new RetainedRoom(options.retainedTopics, options, homeAssistantBranches(options.tree));
  }

  get refusedRetained(): number {
    return this.#room.refused;
  }

  /** The broker is stopping. Its clients are alive, so wills stay in the store and are not published. */
  stop(): void {
    this.#isStopping = true;
  }

  /**
   * The client has lost its permissions and is about to be disconnected. Its will is published only if the will is
   * about the client itself: revoking a token must not trigger a command that was prepared as a will.
   */
  bar(client: BrokerClient, access: ClientAccess): void {
    this.#barred.set(client, access);
  }

  /** Aedes writes PUBACK and PUBREC after the callback. */
  readonly hook = (client: BrokerClient | null, packet: PropertiedPacket, callback: Callback): void => {
    if (client === null || client.closed) {
      const owner = this.#options.wills.ownerOf(packet);
      if (owner !== undefined) {
        const barred = client === null ? undefined : this.#barred.get(client);
        if (barred === undefined || isAboutSender(barred.writes.of(packet.topic)))
          this.#publishWill(client, owner, packet, callback);
        else {
          const why = "the will of a client that has lost its permissions";
          this.#refuse(barred, packet, { reason: "not_allowed", why }, callback);
        }
        return;
      }
      if (client === null) {
        // An error here would become an unhandled rejection in Aedes.
        callback(null);
        return;
      }
    }
    const access = this.#options.registry.get(client);
    if (access === undefined) {
      callback(new NotAcceptedError("the client is not registered"));
      return;
    }
    this.#publish(client, access, packet, callback);
  };

  #publish(client: BrokerClient, access: ClientAccess, packet: PropertiedPacket, callback: Callback): void {
    const { maxPayloadBytes, maxPropertiesBytes, gate } = this.#options;
    const { identity } = access;
    const decision = access.writes.of(packet.topic);
    if (decision.kind === "refused") {
      this.#refuse(access, packet, decision, callback);
    } else if (packet.payload.length > maxPayloadBytes) {
      // "At least", because `packet-meter.ts` truncates a packet that is too large.
      const why = `a payload of at least ${packet.payload.length} bytes exceeds MAX_PAYLOAD_BYTES, which is ${maxPayloadBytes}`;
      this.#refuse(access, packet, { reason: "too_large", why }, callback);
    } else if (packet.stored !== undefined && hasTooLargeProperties(packet.stored, maxPropertiesBytes)) {
      const why = largePropertiesProblem(packet.stored, maxPropertiesBytes);
      this.#refuse(access, packet, { reason: "too_large", why }, callback);
    } else if (decision.kind === "ingest" && decision.act?.action === "command" && !nameIssuer(packet, identity)) {
      const why = `a command nested deeper than ${MAX_JSON_DEPTH} levels`;
      this.#refuse(access, packet, { reason: "too_deep", why }, callback);
    } else {
      this.received++;
      if (decision.kind === "ingest") {
        packet.retain &&= decision.retains;
        const room = this.#retain(access, decision.owner, packet);
        gate.submit(client, access, packet, this.#audited(access, decision, callback, room));
      } else {
        const room = this.#retain(access, undefined, packet);
        const callbacks = { awaitsIngest: true, isForeign: true, callback, refused: callback, room };
        gate.submit(client, access, packet, callbacks);
      }
    }
  }

  #publishWill(client: BrokerClient | null, owner: WillOwner, packet: PropertiedPacket, callback: Callback): void {
    const { identity } = owner.bearer;
    const { tree, gate, wills, broker, isRemoved } = this.#options;
    const drop = (): void => {
      broker.skip(packet);
      callback(null);
    };
    const keep = (): void => {
      wills.keep(packet);
      drop();
    };
    const act = actOf(tree.parse(packet.topic));
    // The address is not stored with a will.
    const clientId = client === null ? "" : sessionName(client.id).clientId;
    const sender = { identity, clientId, willOf: owner.key };
    if (this.#isStopping) keep();
    else if (isRemoved(identity)) {
      // The will is not published: nothing would ever clear a retained message of a removed device.
      drop();
    } else if (!tree.owns(packet.topic)) {
      const room = this.#retain(sender, undefined, packet);
      const ended = (error?: Error | null): void => (error ? keep() : callback(null));
      const callbacks = { awaitsIngest: true, isForeign: true, callback: ended, refused: drop, room };
      gate.submit(client, sender, packet, callbacks);
    } else if (client === null && act?.action === "command") {
      // The will is minutes or days late: the command may be out of date, or no longer permitted.
      this.#options.onCarriedOut({ ...act, who: identity, address: "unknown", outcome: "refused" });
      drop();
    } else {
      const room = this.#retain(sender, ownerTopic(tree, packet.topic), packet);
      const callbacks = this.#audited({ identity, address: "unknown" }, { act, awaitsIngest: true }, callback);
      gate.submit(client, sender, packet, {
        ...callbacks,
        room,
        callback: (error) => (error ? keep() : callbacks.callback(null)),
      });
    }
  }

  /** Takes room for a retained message. Without room, the message is not retained. */
  #retain(sender: PublicationSender, owner: string | undefined, packet: PropertiedPacket): EnteredRoom | undefined {
    const { topic, payload, retain, stored } = packet;
    if (!retain || payload.length === 0) return undefined;
    const entered = this.#room.enter(owner, topic, retainedSize(payload, stored?.properties));
    if ("quota" in entered) return entered;
    packet.retain = false;
    const why = `delivered, but not retained: ${entered.problem}`;
    packet.notRetained = why;
    this.#options.refusedPublications.add(sender, topic, { reason: "no_room", why });
    return undefined;
  }

  /** Refuses a publication whose payload is not what its MQTT 5 properties say. */
  refusePayload(client: BrokerClient, packet: PropertiedPacket, why: string): void {
    const access = this.#options.registry.get(client);
    if (access === undefined) return;
    packet.refusal = { reason: "bad_payload", why };
    this.#options.refusedPublications.add(access, packet.topic, packet.refusal);
  }

  #refuse(access: ClientAccess, packet: PropertiedPacket, refusal: PublicationRefusal, callback: Callback): void {
    const { refusedPublications, onRefused, broker } = this.#options;
    const { identity, address } = access;
    refusedPublications.add(access, packet.topic, refusal);
    packet.refusal = refusal;
    onRefused({ action: "publish", who: identity, address, target: packet.topic, outcome: "permission_denied" });
    broker.skip(packet);
    callback(null);
  }

  /** Callbacks that also write the outcome of a command or a broadcast to the audit log. */
  #audited(
    { identity, address }: Pick<ClientAccess, "identity" | "address">,
    { act, awaitsIngest }: Pick<Extract<PublishDecision, { kind: "ingest" }>, "act" | "awaitsIngest">,
    callback: Callback,
    room?: EnteredRoom | undefined,
  ): PublishCallbacks {
    // Written out: a spread that adds a field takes 2 µs.
    if (act === undefined) return { awaitsIngest, callback, refused: callback, room };
    const audit = (outcome: AuditedAct["outcome"]) =>
      this.#options.onCarriedOut({ ...act, who: identity, address, outcome });
    return {
      awaitsIngest,
      callback: (error) => {
        audit(error ? "refused" : act.action === "command" ? "issued" : "done");
        callback(error);
      },
      refused: () => {
        audit("refused");
        callback(null);
      },
      room,
    };
  }
}

/** False for commands, broadcasts and topics outside the root, which affect others. */
function isAboutSender(decision: PublishDecision): boolean {
  return decision.kind === "ingest" && decision.act === undefined;
}
