import type { Subscription } from "aedes";
import type { Logger } from "pino";
import { isShared, type SharedFilter, sharedFilterOf, sharedFilterProblem } from "../../contract/shares.ts";
import { hasWildcard } from "../../contract/topics.ts";
import { counted } from "../../platform/counted.ts";
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
  /** Of one client: filters with `+` or `#`. */
  maxWildcards: number;
  maxSubscriptionsPerUser: number;
  onRefused(refusal: AccessRefusal): void;
  logger: Logger;
}

export interface SubscriptionRefusal {
  kind: "not-allowed" | "bad-filter" | "too-many";
  why: string;
}

interface RequestedFilter {
  filter: string;
  qos: 0 | 1 | 2;
  /** Whether the filter's retained messages are sent. */
  wantsRetained: boolean;
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
    const access = this.#options.registry.get(client);
    const refusal = this.#refusalOf(access, subscription.topic);
    if (access !== undefined && refusal === undefined) {
      this.#grant(client, access, subscription, done);
      return;
    }
    this.#refuse(client, access, subscription.topic, refusal);
    done(null, null);
  };

  /** Grants a filter of a SUBSCRIBE of MQTT 5. @returns why the filter is refused; undefined when it is granted */
  grant(client: BrokerClient, { filter, qos, wantsRetained }: RequestedFilter): SubscriptionRefusal | undefined {
    const access = this.#options.registry.get(client);
    const refusal = this.#refusalOf(access, filter);
    if (access !== undefined && refusal === undefined) {
      this.#note(access, filter, qos);
      if (wantsRetained) this.#charge(access, filter);
    } else this.#refuse(client, access, filter, refusal);
    return refusal;
  }

  /** Whether the session of an MQTT 5 client keeps the filter. Otherwise the filter is removed from the session. */
  restores(client: BrokerClient, access: ClientAccess, filter: string, qos: 0 | 1 | 2): boolean {
    const refusal = this.#refusalOf(access, filter);
    if (refusal === undefined) this.#note(access, filter, qos);
    else this.#refuse(client, access, filter, refusal);
    return refusal === undefined;
  }

  #refusalOf(access: ClientAccess | undefined, filter: string): SubscriptionRefusal | undefined {
    if (access === undefined) return { kind: "not-allowed", why: "the client is not registered" };
    const why = access.filters.has(filter) ? undefined : this.#roomProblem(access, filter);
    return why === undefined ? this.#problem(access, filter) : { kind: "too-many", why };
  }

  /** Which limit leaves no room for one more filter. */
  #roomProblem({ filters, identity }: ClientAccess, filter: string): string | undefined {
    const { maxSubscriptions, maxWildcards, maxSubscriptionsPerUser: maxOfUser } = this.#options;
    if (filters.size >= maxSubscriptions) return `it already has ${counted(maxSubscriptions, "subscription")}`;
    if (filters.wildcards >= maxWildcards && hasWildcard(filter))
      return `it already has ${counted(maxWildcards, "subscription")} with + or # (MAX_MQTT_WILDCARDS)`;
    if (filters.ofUser < maxOfUser) return undefined;
    return `${identity} already has ${counted(maxOfUser, "subscription")} (MAX_MQTT_SUBSCRIPTIONS_PER_USER)`;
  }

  #refuse(client: BrokerClient, access: ClientAccess | undefined, filter: string, refusal?: SubscriptionRefusal): void {
    const { onRefused, removeSubscription, logger } = this.#options;
    this.refused++;
    const names = access === undefined ? sessionName(client.id) : namesOf(access);
    this.#log.note(names.identity ?? "unknown", (times) => {
      logger.warn({ ...names, filter, why: refusal?.why, times }, "subscription refused");
    });
    if (access !== undefined) {
      const { address } = access;
      onRefused({ action: "subscribe", who: access.identity, address, target: filter, outcome: "permission_denied" });
    }
    // An earlier connection with more permissions may have stored this filter.
    if (!client.clean) removeSubscription(client, filter);
  }

  /** Why the client may not subscribe to the filter. */
  #problem({ identity, set }: ClientAccess, filter: string): SubscriptionRefusal | undefined {
    if (!isShared(filter)) return set.subscribeProblem(filter);
    const shared = sharedFilterOf(filter);
    if (shared === undefined) return { kind: "bad-filter", why: `the filter ${sharedFilterProblem(filter)}` };
    const refusal = set.subscribeProblem(shared.filter);
    if (refusal !== undefined) return refusal;
    const why = this.#options.shareProblem(identity, shared);
    return why === undefined ? undefined : { kind: "too-many", why };
  }

  #grant(client: BrokerClient, access: ClientAccess, subscription: Subscription, done: SubscribeDone): void {
    const { topic: filter, qos } = subscription;
    const known = access.filters.get(filter);
    const since = this.#note(access, filter, qos);
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
    this.#charge(access, filter);
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

  /** @returns publications above this position come live */
  #note(access: ClientAccess, filter: string, qos: 0 | 1 | 2): number {
    const since = this.#options.liveSince();
    if (access.filters.size === 0) access.liveAbove = Math.max(access.liveAbove, since);
    access.filters.set(filter, { qos, since });
    return since;
  }

  /** Charges for the retained messages that the filter brings. */
  #charge(access: ClientAccess, filter: string): void {
    const { messages, bytes } = this.#options.retainedTopics().weigh(filter);
    access.rateLimiter.spend(messages / RETAINED_PER_MESSAGE, bytes);
  }

  stop(): void {
    this.#log.stop();
  }
}
