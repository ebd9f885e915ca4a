/**
 * The parts of a language file that the first screen needs. The build puts only these into the first script; the other
 * parts are loaded with the first place that needs them. A test finds a missing part.
 */
export const FIRST_TEXTS: readonly string[] = [
  ...["banner", "command", "common", "fleet", "gap", "offline", "picture", "place", "presence", "shell", "time"],
];
