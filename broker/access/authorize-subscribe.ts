import type { Subscription } from "aedes";
import type { Logger } from "pino";
import { isShared, type SharedFilter, sharedFilterOf, sharedFilterProblem } from "../../contract/shares.ts";
import type { AccessRefusal } from "../../platform/identity.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { BrokerClient } from "./broker-client.ts";
import type { ClientAccess, ClientRegistry } from "./client-registry.ts";
import type { FilterOptions } from "./filter-options.ts";
import type { RetainedLookup } from "./retained-topics.ts";
import { namesOf, sessionName } from "./session-names.ts";

/**
 * The rate limit counts this many retained messages as one publication, because the broker only reads and sends them.
 */
const RETAINED_PER_MESSAGE = 4;

type SubscribeDone = (error: Error | null, subscription?: Subscription | null) => void;

interface AuthorizeSubscribeOptions {
  registry: ClientRegistry;
  retainedTopics(): RetainedLookup;
  /** A subscription of this moment gets publications above this position live. */
  liveSince(): number;
  /** Whether the client's persistent session has the filter. */
  isSubscribed(client: BrokerClient, filter: string): boolean;
  /** Adds a filter of a SUBSCRIBE to the client's persistent session. Resolves when the filter is durable. */
  addSubscription(client: BrokerClient, filter: string, qos: 0 | 1 | 2): Promise<void>;
  /**
   * Runs the task, in which Aedes subscribes the client of a persistent session. The subscription starts at once, and
   * SUBACK waits for the promise.
   */
  subscribeSession(subscription: { qos: 0 | 1 | 2; isDurable: Promise<void> }, task: () => void): void;
  /** Why the user may not have one more group of shared subscriptions. */
  shareProblem(identity: string, shared: SharedFilter): string | undefined;
  /** Makes the client a member of a group. Resolves when that is durable. */
  subscribeShared(client: BrokerClient, identity: string, shared: SharedFilter, options: FilterOptions): Promise<void>;
  /** Removes a refused filter from the client's stored session. */
  removeSubscription(client: BrokerClient, filter: string): void;
  maxSubscriptions: number;
  onRefused(refusal: AccessRefusal): void;
  logger: Logger;
}

/** Aedes' hook for each filter of a SUBSCRIBE or of a resumed session. */
export class AuthorizeSubscribe {
  readonly #options: AuthorizeSubscribeOptions;
  readonly #log = new LimitedLog();
  refused = 0;

  constructor(options: AuthorizeSubscribeOptions) {
    this.#options = options;
  }

  /** Answers a refused filter with SUBACK 128 [MQTT-3.9.3-2]. The other filters of the packet are granted. */
  readonly hook = (client: BrokerClient, subscription: Subscription, done: SubscribeDone): void => {
    const { registry, maxSubscriptions, onRefused, removeSubscription, logger } = this.#options;
    const access = registry.get(client);
    const filter = subscription.topic;
    const why =
      access === undefined
        ? "the client is not registered"
        : access.filters.size >= maxSubscriptions && !access.filters.has(filter)
          ? `it already has ${maxSubscriptions} subscriptions`
          : this.#problem(access, filter);
    if (access !== undefined && why === undefined) {
      this.#grant(client, access, subscription, done);
      return;
    }
    this.refused++;
    const names = access === undefined ? sessionName(client.id) : namesOf(access);
    this.#log.note(names.identity ?? "unknown", (times) => {
      logger.warn({ ...names, filter, why, times }, "subscription refused");
    });
    if (access !== undefined) {
      const { address } = access;
      onRefused({ action: "subscribe", who: access.identity, address, target: filter, outcome: "permission_denied" });
    }
    // An earlier connection with more permissions may have stored this filter.
    if (!client.clean) removeSubscription(client, filter);
    done(null, null);
  };

  /** Why the client may not subscribe to the filter. */
  #problem({ identity, set }: ClientAccess, filter: string): string | undefined {
    if (!isShared(filter)) return set.subscribeProblem(filter);
    const shared = sharedFilterOf(filter);
    if (shared === undefined) return `the filter ${sharedFilterProblem(filter)}`;
    return set.subscribeProblem(shared.filter) ?? this.#options.shareProblem(identity, shared);
  }

  #grant(client: BrokerClient, access: ClientAccess, subscription: Subscription, done: SubscribeDone): void {
    const { topic: filter, qos } = subscription;
    const since = this.#options.liveSince();
    const known = access.filters.get(filter);
    if (access.filters.size === 0) access.liveAbove = Math.max(access.liveAbove, since);
    access.filters.set(filter, { qos, since });
    const grant = () => done(null, subscription);
    // Aedes restores a session's filters before the CONNACK, and sends no retained messages for them. It sets
    // `client.connected` only some time after the CONNACK, when SUBSCRIBEs may have arrived.
    if (!access.isAccepted) {
      if (client.clean) grant();
      else this.#options.subscribeSession({ qos, isDurable: Promise.resolve() }, grant);
      return;
    }
    const shared = sharedFilterOf(filter);
    if (shared !== undefined) {
      this.#options.subscribeShared(client, access.identity, shared, { qos }).then(grant, done);
      return;
    }
    const { messages, bytes } = this.#options.retainedTopics().weigh(filter);
    access.rateLimiter.spend(messages / RETAINED_PER_MESSAGE, bytes);
    if (client.clean) {
      grant();
      return;
    }
    const { isSubscribed, addSubscription, subscribeSession } = this.#options;
    // An UNSUBSCRIBE has arrived in one write with this SUBSCRIBE, and Aedes still has the earlier subscription.
    const isEnding = known !== undefined && !isSubscribed(client, filter);
    const isDurable = addSubscription(client, filter, qos);
    const subscribe = () => {
      access.filters.set(filter, { qos, since });
      subscribeSession({ qos, isDurable }, grant);
    };
    // If Aedes has the same subscription, it sends SUBACK at once.
    if (isEnding || known?.qos === qos) isDurable.then(subscribe, done);
    else subscribe();
  }

  stop(): void {
    this.#log.stop();
  }
}
