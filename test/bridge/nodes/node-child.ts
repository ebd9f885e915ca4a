import { setTimeout as pause } from "node:timers/promises";
import { pino } from "pino";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { startTestBridge, type TestBridgeOptions } from "../support/test-bridge.ts";

export interface NodeOptions extends Pick<TestBridgeOptions, "env" | "simulated"> {
  url: string;
  prefix: string;
  cluster: { heartbeatMs: number; deadAfterMs: number; leaseMs: number };
  connected: readonly string[];
}

/** A publication of a camera. */
export interface Said {
  topic: string;
  /** Null: empty, which clears a retained topic. */
  payload: unknown;
  retain: boolean;
}

/** An MQTT client connects to this node. */
export interface ClientConnected {
  connected: string;
}

export type NodeMessage =
  | { kind: "ready"; port: number; token: string; setupCode: string | undefined }
  | { kind: "said" }
  | { kind: "logged"; message: string; task: string | undefined }
  /** Published to MQTT clients by this node. */
  | { kind: "published"; topic: string; id: string; text: string };

// A node that tests can suspend and kill.
const { url, prefix, cluster, connected, ...options }: NodeOptions = JSON.parse(process.argv.at(-1) ?? "{}");
const say = (message: NodeMessage) => process.send?.(message);
const bridge = await startTestBridge({
  ...options,
  redis: { access: openRedis({ url, prefix, logger: pino({ level: "silent" }) }), cluster },
  log: ({ msg, task }) =>
    void say({ kind: "logged", message: String(msg), task: typeof task === "string" ? task : undefined }),
});
for (const identity of connected) bridge.link.connections.add(identity);
const { publish } = bridge.link;
bridge.link.publish = async (publication) => {
  const text = String(publication.payload);
  // An empty publication clears a retained topic.
  say({ kind: "published", topic: publication.topic, id: text === "" ? "" : JSON.parse(text).id, text });
  await publish(publication);
};
process.on("message", (message: Said | ClientConnected) => {
  if ("connected" in message) {
    bridge.link.connections.add(message.connected);
    return;
  }
  const { topic, payload, retain } = message;
  void accepted(() => bridge.say(topic, payload ?? Buffer.alloc(0), retain)).then(() => say({ kind: "said" }));
});
process.once("disconnect", () => process.exit());

/** A camera repeats what the server has not acknowledged, for example while Redis restarts. */
async function accepted(attempt: () => Promise<void>): Promise<void> {
  for (;;)
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
      await pause(50);
    }
}

const token = bridge.mint("camera:control", "dashboard:read");
say({ kind: "ready", port: bridge.port, token, setupCode: await bridge.authority.setupCode.current() });
