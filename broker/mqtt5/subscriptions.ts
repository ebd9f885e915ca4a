import type { FilterOptions } from "../access/filter-options.ts";
import type { ForwardingBroker } from "../aedes/forwarding-broker.ts";
import type { DeliveredPacket } from "../aedes/propertied-packet.ts";

type Listener = (packet: DeliveredPacket, done: () => void) => void;

interface LiveDeliveries {
  live(subscription: Subscription, packet: DeliveredPacket, isOnly: boolean): void;
}

export interface Subscription extends FilterOptions {
  readonly listener: Listener;
  /** The client is to get the filter's retained messages. */
  wantsRetained: boolean;
}

/** The filters of a connection, by which the broker calls it for live messages. */
export class Subscriptions {
  readonly #broker: ForwardingBroker;
  readonly #deliveries: LiveDeliveries;
  readonly #all = new Map<string, Subscription>();

  constructor(broker: ForwardingBroker, deliveries: LiveDeliveries) {
    this.#broker = broker;
    this.#deliveries = deliveries;
  }

  get(filter: string): Subscription | undefined {
    return this.#all.get(filter);
  }

  /**
   * Adds the filter, or replaces its options [MQTT-3.8.4-3]. @param isOfSession the session itself sends what the filter
   * gets with QoS 1 or 2
   */
  add(filter: string, options: FilterOptions, isOfSession: boolean): Subscription {
    this.delete(filter);
    const listener = (packet: DeliveredPacket, done: () => void): void => {
      this.#deliveries.live(subscription, packet, this.#all.size === 1);
      done();
    };
    const subscription: Subscription = { ...options, listener, wantsRetained: false };
    this.#all.set(filter, subscription);
    const subscribe = () => this.#broker.subscribe(filter, listener, nothing);
    if (isOfSession) this.#broker.subscribeSession({ qos: options.qos, isDurable: DURABLE }, subscribe);
    else subscribe();
    return subscription;
  }

  /** The next subscription whose retained messages the client is to get. Returns each once. */
  nextForRetained(): { filter: string; subscription: Subscription } | undefined {
    for (const [filter, subscription] of this.#all) {
      if (!subscription.wantsRetained) continue;
      subscription.wantsRetained = false;
      return { filter, subscription };
    }
    return undefined;
  }

  delete(filter: string): boolean {
    const known = this.#all.get(filter);
    if (known === undefined) return false;
    this.#all.delete(filter);
    this.#broker.unsubscribe(filter, known.listener, nothing);
    return true;
  }

  clear(): void {
    for (const filter of [...this.#all.keys()]) this.delete(filter);
  }
}

const DURABLE = Promise.resolve();

function nothing(): void {}
