import { defaultsOf, limitVariable, setting, type ValuesOf } from "../../platform/config.ts";

export const commandSettings = {
  MAX_COMMANDS_PER_MINUTE: setting(
    "Commands of one user in a minute, by HTTP, WebSocket and MQTT together. By HTTP also of one address.",
    limitVariable.default(60),
    { mustAgree: true },
  ),
  MAX_COMMANDS_PER_CAMERA: setting(
    "Waiting commands of one camera. One more is in flight.",
    limitVariable.default(16),
    { mustAgree: true },
  ),
  MAX_PENDING_COMMANDS: setting("Commands waiting or in flight, all cameras together.", limitVariable.default(10_000)),
};

export function commandConfig(read: ValuesOf<typeof commandSettings>) {
  return {
    maxQueuedPerCamera: read.MAX_COMMANDS_PER_CAMERA,
    maxPending: read.MAX_PENDING_COMMANDS,
    maxPerMinute: read.MAX_COMMANDS_PER_MINUTE,
  };
}

export const COMMAND_DEFAULTS = commandConfig(defaultsOf(commandSettings));
