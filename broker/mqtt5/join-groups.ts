import type { LoggedPublication } from "../../platform/publication-log.ts";
import type { ClientAccess } from "../access/client-registry.ts";
import type { Mqtt5Client } from "./client.ts";
import type { Deliveries } from "./deliveries.ts";
import type { Mqtt5Parts } from "./parts.ts";
import { ShareMembership } from "./share-membership.ts";

/** The most publications of groups that one client has without an acknowledgement. When it dies, other members get them. */
const WINDOW = 64;

/** Lets the client be a member of groups of shared subscriptions. */
export function joinGroups(
  client: Mqtt5Client,
  access: ClientAccess,
  deliveries: Deliveries,
  { storage }: Pick<Mqtt5Parts, "storage">,
): ShareMembership {
  const member = { key: client.id, identity: access.identity, isPersistent: !client.clean };
  return new ShareMembership(storage.shares, member, {
    window: Math.min(WINDOW, client.settings.receiveMaximum),
    get isFull() {
      return deliveries.isFull;
    },
    mayReceive: ({ topic, payload }: LoggedPublication) => access.set.mayReceive(topic, payload),
    isFree: (messageId) => deliveries.isFree(messageId),
    send: (delivery) => deliveries.ofShare(delivery),
    close: () => client.endFor("reconnect"),
  });
}
