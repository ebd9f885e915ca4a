import { isShared } from "../../../contract/shares.ts";
import type { ClientAccess } from "../../access/client-registry.ts";
import { ConnackCode, RefusedConnectionError } from "../../access/errors.ts";
import { namesOf } from "../../access/session-names.ts";
import type { ByteReader } from "../byte-reader.ts";
import type { Mqtt5Client } from "../client.ts";
import { settingsOf } from "../client-settings.ts";
import { type Connect, decodeConnect } from "../decode-connect.ts";
import { Deliveries } from "../deliveries.ts";
import { encodeConnack } from "../encode.ts";
import { joinGroups } from "../join-groups.ts";
import { PacketType } from "../packet-types.ts";
import type { Mqtt5Parts } from "../parts.ts";
import { ProtocolError, ReasonCode } from "../reason-codes.ts";
import { RetainedMessages } from "../retained.ts";
import { SessionAttachment } from "../session-attachment.ts";
import { Subscriptions } from "../subscriptions.ts";
import { MAX_INCOMING_ALIASES } from "../topic-aliases.ts";
import { type Will, willOf } from "../will.ts";

/** Publications of QoS 1 and 2 that a client may send without an acknowledgement [MQTT-3.3.4-7]. */
export const RECEIVE_MAXIMUM = 1_000;
/** A session expiry interval of this many seconds never ends. */
const NEVER = 0xffff_ffff;
const REFUSAL_CODES: Record<ConnackCode, ReasonCode> = {
  [ConnackCode.identifierRejected]: ReasonCode.clientIdNotValid,
  [ConnackCode.serverUnavailable]: ReasonCode.serverUnavailable,
  [ConnackCode.badCredentials]: ReasonCode.badCredentials,
  [ConnackCode.notAuthorized]: ReasonCode.notAuthorized,
};
const LIMIT_CODES = { quota: ReasonCode.quotaExceeded, rate: ReasonCode.connectionRateExceeded } as const;
/** Refusals whose details would help to guess a secret. */
const SECRET_REASONS: ReadonlySet<number> = new Set([ConnackCode.badCredentials, ConnackCode.notAuthorized]);

/** Answers the CONNECT of a client with CONNACK. @throws {ProtocolError} */
export function handleConnect(client: Mqtt5Client, body: ByteReader, parts: Mqtt5Parts): void {
  // [MQTT-3.1.0-2]
  if (client.state !== "new") throw new ProtocolError(ReasonCode.protocolError, "a second CONNECT");
  const connect = decodeConnect(body);
  client.settings = settingsOf(connect.properties);
  if (connect.properties.authenticationMethod !== undefined)
    throw new ProtocolError(ReasonCode.badAuthenticationMethod, "enhanced authentication is not supported");
  client.state = "connecting";
  admit(client, connect, parts).catch((error: unknown) => refuse(client, error));
}

function refuse(client: Mqtt5Client, error: unknown): void {
  if (!(error instanceof RefusedConnectionError)) {
    client.fail(error);
    return;
  }
  const { returnCode, message, limit } = error;
  const why = SECRET_REASONS.has(returnCode) ? "the client may not connect: see the log of the server" : message;
  client.end(limit === undefined ? REFUSAL_CODES[returnCode] : LIMIT_CODES[limit], why);
}

/** What the server grants of a CONNECT. */
interface Granted {
  /** Seconds. 0: no keep-alive. */
  readonly keepalive: number;
  /** The session expiry interval, seconds. */
  readonly expiry: number;
  readonly assignedClientId: string | undefined;
}

/** The steps from a CONNECT to its CONNACK. The connection may end after each. @throws {RefusedConnectionError} */
async function admit(client: Mqtt5Client, connect: Connect, parts: Mqtt5Parts): Promise<void> {
  const { registry, lifecycle, storage } = parts;
  const will = connect.will && willOf(connect.will);
  const granted = await authenticate(client, connect, will, parts);
  const access = registry.get(client);
  if (client.closed || access === undefined) return;
  await replaceWill(client, will, parts);
  if (client.closed) return;
  lifecycle.connected(client);
  if (client.clean) await storage.cleanIncoming(client);
  if (client.closed) return;
  openDeliveries(client, access, parts);
  if (!client.clean) attach(client, access, parts);
  const connack = connackOf(client, connect, { ...granted, access }, parts);
  client.sendWithReason(undefined, () => connack);
  accept(client, access, granted.keepalive, parts);
}

async function authenticate(
  client: Mqtt5Client,
  { clientId, cleanStart, username, password, ...connect }: Connect,
  will: Will | undefined,
  parts: Mqtt5Parts,
): Promise<Granted> {
  const keepalive = Math.min(connect.keepalive, parts.maxKeepaliveSeconds);
  const longest = Math.min(parts.sessionHours * 3600, NEVER);
  const expiry = Math.min(client.settings.sessionExpiry, longest);
  client.clean = cleanStart && expiry === 0;
  const { assignedClientId } = await parts.authenticate.connect(client, {
    ...{ cmd: "connect", protocolVersion: 5, clientId, clean: client.clean, cleanStart, keepalive },
    ...{ username, password, will, sessionExpiry: expiry === longest ? undefined : expiry },
  });
  return { keepalive, expiry, assignedClientId };
}

/** Removes the will of an earlier connection, and stores the one of this connection. */
async function replaceWill(client: Mqtt5Client, will: Will | undefined, parts: Mqtt5Parts): Promise<void> {
  const { storage, wills } = parts;
  await storage.delWill(client);
  // A will that the client may not publish has no owner.
  if (client.closed || will === undefined || wills.ownerOf(will) === undefined) return;
  client.will = will;
  await storage.putWill(client, will);
}

function connackOf(
  { settings }: Mqtt5Client,
  connect: Connect,
  { keepalive, expiry, assignedClientId, access }: Granted & { access: ClientAccess },
  { maxPacketBytes }: Mqtt5Parts,
): Buffer {
  return encodeConnack({
    ...{ reasonCode: ReasonCode.success, sessionPresent: access.isResumed, assignedClientId },
    ...{ receiveMaximum: RECEIVE_MAXIMUM, topicAliasMaximum: MAX_INCOMING_ALIASES },
    maximumPacketSize: Number.isFinite(maxPacketBytes) ? maxPacketBytes : undefined,
    sessionExpiry: expiry === settings.sessionExpiry ? undefined : expiry,
    serverKeepAlive: keepalive === connect.keepalive ? undefined : keepalive,
  });
}

function openDeliveries(client: Mqtt5Client, access: ClientAccess, parts: Mqtt5Parts): void {
  const { frames, forwarding, storage, logger } = parts;
  const { output, settings } = client;
  client.deliveries = new Deliveries({
    ...{ frames, output, settings, access, counts: forwarding, now: parts.now, wantsReceipt: parts.wantsReceipt },
    ...{ maxQueuedBytes: parts.maxQueuedBytes, maxUnsentBytes: parts.maxUnsentBytes },
    nextUnloggedId: () => storage.deliveries.nextUnloggedId(client),
    onTooSlow: (unsentBytes) => {
      if (client.closed) return;
      forwarding.slowClients++;
      logger.warn({ ...namesOf(access), unsentBytes }, "client disconnected: it reads too slowly");
      access.disconnectReason ??= `it reads too slowly: ${unsentBytes} bytes are unsent, and no message may be dropped`;
      client.end(ReasonCode.quotaExceeded, "the client reads or acknowledges too slowly");
    },
  });
  client.subscriptions = new Subscriptions(parts.broker, client.deliveries);
  client.retained = new RetainedMessages(client, parts);
}

/** Connects the client to its session, and restores the session's filters. */
function attach(client: Mqtt5Client, access: ClientAccess, parts: Mqtt5Parts): void {
  const { deliveries, subscriptions } = client;
  if (deliveries === undefined || subscriptions === undefined) return;
  const connection = {
    get isFull() {
      return deliveries.isFull;
    },
    mayReceive: ({ topic, payload }: { topic: string; payload: Buffer }) => access.set.mayReceive(topic, payload),
    send: deliveries.ofSession.bind(deliveries),
  };
  const connected = parts.storage.connect(client.id, connection);
  if (connected === undefined) throw new Error("the session has been taken away");
  const session = new SessionAttachment(parts.storage, client.id, { ...connected, connection });
  deliveries.session = session;
  deliveries.shares = joinGroups(client, access, deliveries, parts);
  for (const [filter, options] of session.filters) {
    if (!parts.subscribing.restores(client, access, filter, options.qos)) continue;
    if (isShared(filter)) deliveries.shares.restore(filter);
    else subscriptions.add(filter, options, true);
  }
}

function accept(client: Mqtt5Client, access: ClientAccess, keepalive: number, { connections }: Mqtt5Parts): void {
  if (client.closed) return;
  connections.accepted(client.conn);
  access.isAccepted = true;
  const { session, shares } = client.deliveries ?? {};
  for (const messageId of session?.released ?? []) client.acknowledge(PacketType.pubrel, messageId);
  session?.start();
  if (session !== undefined)
    shares?.start(session.filters, (messageId) => client.acknowledge(PacketType.pubrel, messageId));
  client.connected(keepalive);
}
