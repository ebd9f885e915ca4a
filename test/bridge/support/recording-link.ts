import type { BrokerLink } from "../../../bridge/broker-link/broker-link.ts";
import type { Delivery, OutgoingPublication, TakeOver } from "../../../platform/publications.ts";

/** A fake broker link: records publications, and reports deliveries and take-overs that the test triggers. */
export interface RecordingLink extends BrokerLink {
  publications: OutgoingPublication[];
  connections: Set<string>;
  /** The topics with a retained message. */
  retained: Set<string>;
  /** While set, publishing fails with this error. */
  failure: Error | undefined;
  deliver(delivery: Delivery): void;
  takeOver(clientId: string, identity: string): void;
}

export function recordingLink(): RecordingLink {
  const deliveryListeners = new Set<(delivery: Delivery) => void>();
  const takeOverListeners = new Set<(takeOver: TakeOver) => void>();
  const link: RecordingLink = {
    publications: [],
    connections: new Set(),
    retained: new Set(),
    failure: undefined,
    async publish(publication) {
      if (link.failure !== undefined) throw link.failure;
      link.publications.push(publication);
      const { topic, payload, retain } = publication;
      if (retain && payload.length > 0) link.retained.add(topic);
      else if (retain) link.retained.delete(topic);
    },
    retainedBelow: (topic) => [...link.retained].filter((name) => name.startsWith(`${topic}/`)),
    connected: (identity) => link.connections.has(identity),
    onDelivered(listener) {
      deliveryListeners.add(listener);
      return () => deliveryListeners.delete(listener);
    },
    onTakeOver(listener) {
      takeOverListeners.add(listener);
      return () => takeOverListeners.delete(listener);
    },
    deliver(delivery) {
      for (const listener of deliveryListeners) listener(delivery);
    },
    takeOver(clientId, identity) {
      for (const listener of takeOverListeners) listener({ clientId, identity });
    },
  };
  return link;
}
