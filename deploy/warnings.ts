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
  if (unlimited.length > 0)
    warnings.push(
      `whoever sends enough can fill memory or disk: ${unlimited.join(", ")} ${unlimited.length > 1 ? "are" : "is"} 0`,
    );
  return warnings;
}
