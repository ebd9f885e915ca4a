import { BRIDGE_FILE_VARIABLES, bridgeVariables } from "../../bridge/config.ts";
import { BROKER_VARIABLES } from "../../broker/config.ts";
import { nearestName } from "../../contract/nearest-name.ts";
import { DEPLOY_VARIABLES } from "./config.ts";

/** Shorter names of other programs, such as HOME, are too near to ours. */
const MIN_LENGTH = 5;
const MAX_CHANGES = 3;

/**
 * A sentence for each variable of the environment that is no setting, and a letter or two away from one: it would be ignored,
 * and the default would hold.
 */
export function misspeltSettings(env: NodeJS.ProcessEnv): string[] {
  const files = [...BRIDGE_FILE_VARIABLES, "REDIS_URL"].map((name) => `${name}_FILE`);
  const settings = new Set([...bridgeVariables(), ...BROKER_VARIABLES, ...DEPLOY_VARIABLES, ...files, "SKYLAPSE_URL"]);
  const warnings: string[] = [];
  for (const name of Object.keys(env)) {
    if (name.length < MIN_LENGTH || settings.has(name) || !env[name]?.trim()) continue;
    const nearest = nearestName(name, settings, Math.min(MAX_CHANGES, Math.max(1, Math.floor(name.length / 5))));
    if (nearest !== undefined) warnings.push(`${name} is no setting and is ignored: did you mean ${nearest}?`);
    else if (name.endsWith("_FILE") && settings.has(name.slice(0, -"_FILE".length)))
      warnings.push(`${name} is ignored: ${name.slice(0, -"_FILE".length)} is not read from a file`);
  }
  return warnings;
}
