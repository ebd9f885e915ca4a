import { pino } from "pino";
import { openRedis } from "../../../platform/redis/connections.ts";
import { startTestBridge, type TestBridgeOptions } from "../support/test-bridge.ts";

export interface NodeOptions extends Pick<TestBridgeOptions, "env"> {
  url: string;
  prefix: string;
  cluster: { heartbeatMs: number; deadAfterMs: number; leaseMs: number };
  connected: readonly string[];
}

/** A publication of a camera. */
export interface Said {
  topic: string;
  payload: unknown;
  retain: boolean;
}

export type NodeMessage =
  | { kind: "ready"; port: number; token: string }
  | { kind: "said" }
  | { kind: "logged"; message: string }
  /** Published to MQTT clients by this node. */
  | { kind: "published"; topic: string; id: string };

// A node that tests can suspend and kill.
const { url, prefix, cluster, connected, env = {} }: NodeOptions = JSON.parse(process.argv.at(-1) ?? "{}");
const say = (message: NodeMessage) => process.send?.(message);
const bridge = await startTestBridge({
  env,
  redis: { access: openRedis({ url, prefix, logger: pino({ level: "silent" }) }), cluster },
  log: ({ msg }) => void say({ kind: "logged", message: String(msg) }),
});
for (const identity of connected) bridge.link.connections.add(identity);
const { publish } = bridge.link;
bridge.link.publish = async (publication) => {
  say({ kind: "published", topic: publication.topic, id: JSON.parse(String(publication.payload)).id });
  await publish(publication);
};
process.on("message", ({ topic, payload, retain }: Said) => {
  void bridge.say(topic, payload, retain).then(() => say({ kind: "said" }));
});
process.once("disconnect", () => process.exit());
say({ kind: "ready", port: bridge.port, token: bridge.mint("camera:control", "dashboard:read") });
