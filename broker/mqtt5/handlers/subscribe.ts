import { isShared, sharedFilterOf } from "../../../contract/shares.ts";
import type { SubscriptionRefusal } from "../../access/authorize-subscribe.ts";
import type { ByteReader } from "../byte-reader.ts";
import type { Mqtt5Client } from "../client.ts";
import { decodeSubscribe, type Subscribe, type SubscribeEntry } from "../decode.ts";
import { encodeGrants } from "../encode.ts";
import { joinGroups } from "../join-groups.ts";
import { PacketType } from "../packet-types.ts";
import type { Mqtt5Parts } from "../parts.ts";
import { protocolError, ReasonCode } from "../reason-codes.ts";
import type { ShareMembership } from "../share-membership.ts";
import type { Subscription } from "../subscriptions.ts";

const REFUSAL_CODES: Record<SubscriptionRefusal["kind"], ReasonCode> = {
  "not-allowed": ReasonCode.notAuthorized,
  "bad-filter": ReasonCode.filterInvalid,
  "too-many": ReasonCode.quotaExceeded,
};

interface Answers {
  readonly codes: number[];
  readonly reasons: string[];
  /** The subscriptions whose retained messages follow SUBACK. */
  readonly withRetained: Subscription[];
  /** Resolve when the filters are durable. */
  readonly durable: Promise<void>[];
}

/** Subscribes to each filter, and answers with one reason code for each [MQTT-3.8.4-6]. @throws {ProtocolError} */
export function handleSubscribe(client: Mqtt5Client, body: ByteReader, parts: Mqtt5Parts): void {
  const subscribe = decodeSubscribe(body);
  const answers: Answers = { codes: [], reasons: [], withRetained: [], durable: [] };
  for (const entry of subscribe.entries) add(client, entry, subscribe, answers, parts);
  const { codes, reasons, withRetained, durable } = answers;
  const send = () => {
    if (client.closed) return;
    const why = reasons.length > 0 && client.settings.wantsProblemInformation ? reasons.join("; ") : undefined;
    client.sendWithReason(why, (reason) => encodeGrants(PacketType.suback, subscribe.messageId, codes, reason));
    for (const subscription of withRetained) subscription.wantsRetained = true;
    client.retained?.wake();
  };
  if (durable.length === 0) send();
  else client.answer(Promise.all(durable).then(send));
}

function add(
  client: Mqtt5Client,
  entry: SubscribeEntry,
  { identifier }: Subscribe,
  to: Answers,
  parts: Mqtt5Parts,
): void {
  const { filter, qos, noLocal, retainAsPublished, retainHandling } = entry;
  // [MQTT-3.8.3-4]
  if (isShared(filter) && noLocal) throw protocolError("a shared subscription with no local");
  const isKnown = client.subscriptions?.get(filter) !== undefined;
  // Retained messages are not sent for a shared subscription.
  const isRetainedWanted = !isShared(filter) && (retainHandling === 0 || (retainHandling === 1 && !isKnown));
  const refusal = parts.subscribing.grant(client, { filter, qos, wantsRetained: isRetainedWanted });
  if (refusal !== undefined) {
    to.codes.push(REFUSAL_CODES[refusal.kind]);
    to.reasons.push(refusal.why);
    return;
  }
  to.codes.push(qos);
  const options = { qos, noLocal, retainAsPublished, identifier };
  if (!client.clean) to.durable.push(parts.storage.subscribe(client.id, filter, options));
  const shared = sharedFilterOf(filter);
  if (shared !== undefined) {
    const joined = share(client, parts)?.subscribe(filter, shared, options);
    if (joined !== undefined) to.durable.push(joined);
    return;
  }
  const subscription = client.subscriptions?.add(filter, options, !client.clean);
  if (subscription !== undefined && isRetainedWanted) to.withRetained.push(subscription);
}

/** The client's membership of groups. A client without a session becomes a member with its first shared subscription. */
function share(client: Mqtt5Client, parts: Mqtt5Parts): ShareMembership | undefined {
  const { deliveries } = client;
  const access = parts.registry.get(client);
  if (deliveries === undefined || access === undefined) return undefined;
  deliveries.shares ??= joinGroups(client, access, deliveries, parts);
  return deliveries.shares;
}
