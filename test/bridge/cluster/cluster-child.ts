import { pino } from "pino";
import { openRedisCluster } from "../../../bridge/cluster/redis/redis.ts";
import { openRedis } from "../../../platform/redis/connections.ts";

export interface ChildOptions {
  url: string;
  prefix: string;
  heartbeatMs: number;
  deadAfterMs: number;
  leaseMs: number;
}

export type Question =
  | { kind: "acquire"; name: string }
  | { kind: "enter"; userId: string; connectionId: string; limit: number };
export type ChildQuestion = { id: number } & Question;

export type ChildAnswer =
  | { kind: "ready" }
  | { kind: "answer"; id: number; yes: boolean }
  /** `error` is the name of the error's class. */
  | { kind: "failed"; id: number; error: string }
  | { kind: "lost"; name: string };

// A node that tests can suspend and kill. Started by cluster-process.ts.
const { url, prefix, ...options }: ChildOptions = JSON.parse(process.argv.at(-1) ?? "{}");
const logger = pino({ level: "silent" });
const cluster = await openRedisCluster({ redis: openRedis({ url, prefix, logger }), logger, ...options });
const say = (answer: ChildAnswer) => process.send?.(answer);

async function answerTo(question: Question): Promise<boolean> {
  if (question.kind === "enter") {
    const { userId, connectionId, limit } = question;
    return (await cluster.connections.enter(userId, connectionId, limit)) !== undefined;
  }
  const { name } = question;
  const lease = await cluster.leases.acquire(name);
  lease?.lost.addEventListener("abort", () => say({ kind: "lost", name }));
  return lease !== undefined;
}

process.on("message", ({ id, ...question }: ChildQuestion) => {
  answerTo(question).then(
    (yes) => say({ kind: "answer", id, yes }),
    (error: Error) => say({ kind: "failed", id, error: error.name }),
  );
});
process.once("disconnect", () => process.exit());
say({ kind: "ready" });
