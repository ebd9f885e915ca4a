import { grantsOf, isKnownPermission } from "../../contract/permissions.ts";
import { topicTree } from "../../contract/topics.ts";
import { isLoopbackHost } from "../../platform/client-addresses.ts";
import type { BackendConfig } from "./backend-config.ts";

/** One warning for each insecure setting. @param firstTry whether tokens need no key now; undefined if unknown */
export function insecureSwitches(
  { bridge, broker, simulator, misspelt, unlimited, ignored }: Omit<BackendConfig, "secrets">,
  firstTry?: boolean,
): string[] {
  const warnings: string[] = [...misspelt];
  const { outsideBroker } = bridge;
  if (ignored.length > 0)
    warnings.push(`without effect, because the broker of MQTT_URL is used: ${ignored.join(", ")}`);
  if (outsideBroker !== undefined && isInClear(outsideBroker.url))
    warnings.push(
      `what is sent to ${outsideBroker.place} is not encrypted, passwords included: use mqtts:// or wss://`,
    );
  if (firstTry ?? (bridge.loopback && bridge.trustedProxies.length === 0 && simulator.SIMULATOR > 0))
    warnings.push(
      "until the first account or camera is added, every program on this machine, and a proxy on it that adds no header, " +
        "gets tokens without a key, admin excepted: for real use set SIMULATOR=0",
    );
  if (!bridge.loopback) {
    const where = `on ${bridge.host}`;
    if (broker.tls === undefined && outsideBroker === undefined)
      warnings.push(`MQTT ${where} is not encrypted, secrets included: set TLS_CERT and TLS_KEY`);
    if (bridge.trustedProxies.length === 0)
      warnings.push(
        `HTTP ${where} is not encrypted: put a TLS proxy in front of it and add the proxy to TRUSTED_PROXIES`,
      );
  }
  for (const proxy of bridge.trustedProxies.filter((entry) => entry.endsWith("/0")))
    warnings.push(`any client can claim any address: ${proxy} in TRUSTED_PROXIES trusts everybody`);
  if (!bridge.journal.sync)
    warnings.push("a power failure can lose the acknowledged events of the last seconds: JOURNAL_SYNC is off");
  warnings.push(...widerChannels(bridge));
  if (unlimited.length > 0)
    warnings.push(`clients can fill memory or disk: ${unlimited.join(", ")} ${unlimited.length > 1 ? "are" : "is"} 0`);
  return warnings;
}

/** Whether the address is of another machine and without TLS. */
function isInClear(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return (protocol === "mqtt:" || protocol === "ws:") && !isLoopbackHost(hostname);
}

/**
 * Finds custom channels that deliver more topics than their permission grants elsewhere. Ignores permissions that the
 * operator has invented, because such a permission grants nothing elsewhere.
 */
function widerChannels({ channels, topicRoot }: BackendConfig["bridge"]): string[] {
  const tree = topicTree(topicRoot);
  const wider: string[] = [];
  for (const [name, { filters, permission }] of channels) {
    if (!isKnownPermission(permission)) continue;
    const grants = grantsOf([permission], { tree });
    const beyond = filters.filter((filter) => !grants.canSubscribe(filter));
    if (beyond.length > 0)
      wider.push(
        `${permission} grants more in the channel ${name} of CHANNELS_FILE than elsewhere: ${beyond.join(", ")}`,
      );
  }
  return wider;
}
