import { nearestName } from "../contract/nearest-name.ts";
import { visible } from "../contract/visible-text.ts";
import type { EnvironmentSource } from "./config.ts";

/** Shorter names are ignored: variables of other programs are too similar to settings, such as HOME to HOST. */
const MIN_LENGTH = 5;
const MAX_CHANGES = 3;

/** A warning for each variable that resembles a setting. Not an error: the variable may be another program's. */
export function misspeltSettings(env: EnvironmentSource["env"], settings: ReadonlySet<string>): string[] {
  const warnings: string[] = [];
  for (const name of Object.keys(env)) {
    if (name.length < MIN_LENGTH || settings.has(name) || !env[name]?.trim()) continue;
    const nearest = nearestName(name, settings, Math.min(MAX_CHANGES, Math.max(1, Math.floor(name.length / 5))));
    const setting = name.replace(/_FILE$/, "");
    if (nearest !== undefined) warnings.push(`${visible(name)} is no setting and is ignored: did you mean ${nearest}?`);
    else if (setting !== name && settings.has(setting))
      warnings.push(`${name} is ignored: ${setting} is not read from a file`);
  }
  return warnings;
}
