import { grantsOf, isKnownPermission } from "../contract/permissions.ts";
import { topicTree } from "../contract/topics.ts";
import type { BackendConfig } from "./backend-config.ts";

/** What the configuration leaves open: a sentence for each, to be shown at every start. */
export function insecureSwitches({ bridge, broker, unlimited }: Omit<BackendConfig, "secrets">): string[] {
  const warnings: string[] = [];
  if (bridge.loopback)
    warnings.push("any program on this machine can have a token: POST /auth/token asks for no key on loopback");
  else {
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
