import { pino } from "pino";
import { openRedisCluster } from "../../../bridge/cluster/redis/redis.ts";
import { openRedis } from "../../../deploy/redis/redis.ts";
import type { ChildAnswer, ChildOptions, ChildQuestion } from "./cluster-process.ts";

// A node that tests can suspend and kill. Started by cluster-process.ts.
const { url, prefix, ...options }: ChildOptions = JSON.parse(process.argv.at(-1) ?? "{}");
const logger = pino({ level: "silent" });
const cluster = await openRedisCluster({ redis: openRedis({ url, prefix, logger }), logger, ...options });
const say = (answer: ChildAnswer) => process.send?.(answer);

process.on("message", async ({ id, ...question }: ChildQuestion) => {
  if (question.kind === "acquire") {
    const { name } = question;
    const lease = await cluster.leases.acquire(name);
    lease?.lost.addEventListener("abort", () => say({ kind: "lost", name }));
    say({ kind: "answer", id, yes: lease !== undefined });
  } else {
    const leave = await cluster.connections.enter(question.userId, question.connectionId, question.limit);
    say({ kind: "answer", id, yes: leave !== undefined });
  }
});
process.once("disconnect", () => process.exit());
say({ kind: "ready" });
