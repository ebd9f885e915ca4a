import type { Logger } from "pino";
import { logInOnce } from "../bridge/auth/account-login.ts";
import type { Authority } from "../bridge/auth/authority.ts";
import { isRevoked } from "../bridge/auth/enforcement.ts";
import type { LoginGuard } from "../bridge/auth/login-guard.ts";
import { shareLink } from "../bridge/broker-link/shared-link.ts";
import type { VerifyPassword } from "../broker/access/credentials.ts";
import { TokenUndecidedError } from "../broker/access/errors.ts";
import { type Broker, startBroker } from "../broker/broker.ts";
import type { TopicTree } from "../contract/topics.ts";
import { clientAddresses } from "../platform/client-addresses.ts";
import { messageOf } from "../platform/errors.ts";
import type { OnDamage } from "../platform/level/damage.ts";
import type { MqttAddress } from "../platform/mqtt-address.ts";
import type { Ingest } from "../platform/publications.ts";
import { RunningParts } from "../platform/running-parts.ts";
import type { BackendConfig } from "./config/backend-config.ts";
import { urlOf } from "./listening-url.ts";
import type { MqttSide } from "./mqtt-side.ts";
import type { Stores } from "./stores/stores.ts";

interface EmbeddedBrokerOptions {
  config: BackendConfig;
  stores: Stores;
  authority: Authority;
  guard: LoginGuard;
  tree: TopicTree;
  ingest: Ingest;
  onDamage: OnDamage;
  logger: Logger;
}

/** Starts the server's own broker, without listeners. */
export async function startEmbeddedBroker(options: EmbeddedBrokerOptions): Promise<MqttSide> {
  const { config, stores, authority, guard, tree, ingest, onDamage, logger } = options;
  const { bridge: bridgeConfig, broker: brokerConfig } = config;
  const { cluster, clock, journal, redis } = stores;
  const parts = new RunningParts(logger);
  const broker = parts.add(
    await startBroker({
      ...{ config: brokerConfig, tree, channels: bridgeConfig.channels, devices: authority.devices, ingest },
      ...{ mqttLog: journal.mqtt, onDamage },
      ...(redis === undefined ? {} : { redis }),
      verifyToken: (token) => verifyToken(authority, token),
      verifyPassword: bridgeConfig.mqttAccountLogin ? (login) => verifyPassword(login, authority, guard) : undefined,
      isRevoked: (bearer) => isRevoked(authority, bearer),
      addresses: clientAddresses(bridgeConfig.trustedProxies),
      now: () => clock.now(),
      tokenNow: () => cluster.now(),
      logger: logger.child({ part: "broker" }),
    }),
  );
  // With several nodes, `shareLink` gives the bridge the MQTT clients of all nodes.
  const identities = () => broker.clients().map(({ identity }) => identity);
  const link =
    redis === undefined
      ? broker
      : parts.add(await shareLink({ link: broker, identities, cluster, now: () => clock.now(), logger }));
  return {
    link,
    forBridge: {
      ...{ mqttClients: broker, brokerStats: () => broker.stats() },
      mqttAddress: () => addressOf(broker),
    },
    brokerUrl: () => urlOf("mqtt", brokerConfig.host, broker.ports.mqtt),
    addresses: () => addressesOf(config, broker),
    listen: () => broker.listen(),
    stopListening: () => broker.stopListening(),
    stop: () => parts.stop(),
  };
}

async function verifyToken(authority: Authority, token: string) {
  await authority.prepare(token)?.catch((cause: unknown) => {
    throw new TokenUndecidedError("the identity provider does not answer", { cause });
  });
  return authority.verify(token);
}

function verifyPassword(login: Parameters<VerifyPassword>[0], authority: Authority, guard: LoginGuard) {
  return logInOnce(login, authority, guard).catch((cause: unknown) => {
    throw new TokenUndecidedError(messageOf(cause), { cause });
  });
}

/** Devices should use TLS if they can. */
function addressOf({ ports: { mqtt, mqtts } }: Broker): MqttAddress | undefined {
  if (mqtts !== undefined) return { protocol: "mqtts", port: mqtts };
  return mqtt === undefined ? undefined : { protocol: "mqtt", port: mqtt };
}

function addressesOf({ broker: { host } }: BackendConfig, { ports }: Broker): ReturnType<MqttSide["addresses"]> {
  return [
    ["MQTT", urlOf("mqtt", host, ports.mqtt)],
    ...(ports.mqtts === undefined ? [] : [["MQTT over TLS", urlOf("mqtts", host, ports.mqtts)] as const]),
    ["MQTT over WebSocket", urlOf("ws", host, ports.mqttWs)],
  ];
}
