// The language of the wire, for programs that use this package: schemas and types of all messages.

export * from "./channels.ts";
export * from "./codes.ts";
export * from "./commands.ts";
export * from "./custom-channels.ts";
export * from "./desired.ts";
export * from "./events.ts";
export * from "./ids.ts";
export * from "./permissions.ts";
export * from "./socket-messages.ts";
export * from "./topics.ts";
