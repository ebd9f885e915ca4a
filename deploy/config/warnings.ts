import { grantsOf, isKnownPermission } from "../../contract/permissions.ts";
import { topicTree } from "../../contract/topics.ts";
import type { BackendConfig } from "./backend-config.ts";

/**
 * What the configuration leaves open: a sentence for each, to be shown at every start.
 * @param firstTry whether tokens are given without a key now; undefined when that is not known
 */
export function insecureSwitches(
  { bridge, broker, simulator, misspelt, unlimited }: Omit<BackendConfig, "secrets">,
  firstTry?: boolean,
): string[] {
  const warnings: string[] = [...misspelt];
  if (firstTry ?? (bridge.loopback && bridge.trustedProxies.length === 0 && simulator.SIMULATOR > 0))
    warnings.push(
      "until the first account or camera is added, whoever reaches this machine's loopback (each program on it, and a proxy " +
        "that names itself in no header) gets tokens without a key, admin excepted: for real use set SIMULATOR=0",
    );
  if (!bridge.loopback) {
    const where = `on ${bridge.host}`;
    if (broker.tls === undefined)
      warnings.push(`MQTT ${where} is not encrypted, secrets included: set TLS_CERT and TLS_KEY`);
    if (bridge.trustedProxies.length === 0)
      warnings.push(`HTTP ${where} is not encrypted: put a TLS proxy before it, and name that in TRUSTED_PROXIES`);
  }
  for (const proxy of bridge.trustedProxies.filter((entry) => entry.endsWith("/0")))
    warnings.push(`any client can claim any address: TRUSTED_PROXIES trusts everybody with ${proxy}`);
  if (!bridge.journal.sync)
    warnings.push("acknowledged events of the last seconds can be lost with the power: JOURNAL_SYNC is off");
  warnings.push(...widerChannels(bridge));
  if (unlimited.length > 0)
    warnings.push(
      `whoever sends enough can fill memory or disk: ${unlimited.join(", ")} ${unlimited.length > 1 ? "are" : "is"} 0`,
    );
  return warnings;
}

/** Channels that show more than their permission gives elsewhere. One that is the operator's own gives nothing elsewhere. */
function widerChannels({ channels, topicRoot }: BackendConfig["bridge"]): string[] {
  const tree = topicTree(topicRoot);
  const wider: string[] = [];
  for (const [name, { filters, permission }] of channels) {
    if (!isKnownPermission(permission)) continue;
    const grants = grantsOf([permission], { tree });
    const beyond = filters.filter((filter) => !grants.canSubscribe(filter));
    if (beyond.length > 0)
      wider.push(
        `${permission} gives more than elsewhere: the channel ${name} of CHANNELS_FILE has ${beyond.join(", ")}`,
      );
  }
  return wider;
}
