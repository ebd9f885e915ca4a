import { randomBytes } from "node:crypto";
import { z } from "zod";
import { afterRunning } from "../../platform/running-time.ts";
import type { Cluster, Json } from "./cluster.ts";

const ANSWER_TIMEOUT_MS = 1_000;

const questionSchema = z.object({ id: z.string(), about: z.json() });
const answerSchema = z.object({ id: z.string(), answer: z.json() });

type Asker = Pick<Cluster, "nodeId" | "nodes" | "signals">;

interface Answers {
  /** By node id. */
  given: ReadonlyMap<string, Json>;
  /** The ids of nodes that did not answer in time. */
  missing: readonly string[];
}

/** Answers a question of other nodes. @returns stops answering */
export function answerNodes({ nodeId, signals }: Asker, question: string, answer: (about: Json) => Json): () => void {
  return signals.on(`ask ${question}`, (message, from) => {
    const asked = questionSchema.safeParse(message);
    if (from === nodeId || !asked.success) return;
    signals.send(`answer ${question}`, { id: asked.data.id, answer: answer(asked.data.about) });
  });
}

/**
 * Resolves when every node has answered, or after `timeoutMs`.
 * @throws {StoreUnavailableError} the list of nodes cannot be read
 */
export async function askNodes(
  { nodeId, nodes, signals }: Asker,
  question: string,
  about: Json,
  timeoutMs = ANSWER_TIMEOUT_MS,
): Promise<Answers> {
  const awaited = new Set((await nodes()).map((node) => node.id).filter((id) => id !== nodeId));
  const given = new Map<string, Json>();
  if (awaited.size === 0) return { given, missing: [] };
  const id = randomBytes(9).toString("base64url");
  let end = () => {};
  let endWait = () => {};
  try {
    await new Promise<void>((resolve) => {
      endWait = afterRunning(timeoutMs, resolve);
      end = signals.on(`answer ${question}`, (message, from) => {
        const answered = answerSchema.safeParse(message);
        if (!answered.success || answered.data.id !== id || !awaited.delete(from)) return;
        given.set(from, answered.data.answer);
        if (awaited.size === 0) resolve();
      });
      signals.send(`ask ${question}`, { id, about });
    });
  } finally {
    endWait();
    end();
  }
  return { given, missing: [...awaited] };
}
