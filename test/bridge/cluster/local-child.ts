import { pino } from "pino";
import type { Json } from "../../../bridge/cluster/cluster.ts";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";

export interface LocalQuestion {
  id: number;
  put: { key: string; value: Json }[];
}

export interface LocalAnswer {
  id: number;
  /** The names of the errors of rejected writes. */
  refusals: string[];
  /** All documents by key, after the writes. */
  found: Record<string, Json>;
  unavailableReason: string | undefined;
}

// A program with documents that tests can kill, and whose disk they can fill. Started by local-process.ts.
const path = process.argv.at(-1) ?? "";
const cluster = await openLocalCluster({ path, logger: pino({ level: "silent" }) });
const say = (answer: LocalAnswer) => process.send?.(answer);

process.on("message", async ({ id, put }: LocalQuestion) => {
  const refusals: string[] = [];
  await Promise.all(
    put.map(({ key, value }) =>
      cluster.documents.put("notes", key, value).catch((error: Error) => refusals.push(error.name)),
    ),
  );
  const documents = await cluster.documents.list("notes");
  const found = Object.fromEntries(documents.map(({ key, value }) => [key, value]));
  say({ id, refusals, found, unavailableReason: cluster.unavailableReason });
});
process.once("disconnect", () => process.exit());
say({ id: 0, refusals: [], found: {}, unavailableReason: undefined });
