import { z } from "zod";
import type { Cluster } from "../cluster/cluster.ts";
import { runAsSingleton } from "../cluster/singleton.ts";
import { type PresenceOptions, type PresenceService, publishedPresence, startPresence } from "./presence.ts";

export interface SharedPresenceOptions extends Omit<PresenceOptions, "trusted" | "followedUntil"> {
  cluster: Pick<Cluster, "leases" | "nodeId" | "nodes" | "documents">;
  /** Between two notes that presence is followed, milliseconds: so exact is when a camera was last heard before a crash. */
  noteIntervalMs?: number;
}

/** The document that says until when presence was followed, by the server's clock. */
const FOLLOWED = { collection: "presence", key: "followed" } as const;
const followedSchema = z.object({ until: z.number() });
const NOTE_INTERVAL_MS = 15_000;

/** Presence is made up at one node at a time: each camera comes and goes once, whichever nodes there are. The others read it. */
export function sharePresence({ cluster, ...options }: SharedPresenceOptions): PresenceService & {
  stop(): Promise<void>;
} {
  const { journal, tree, logger, now = Date.now, noteIntervalMs = NOTE_INTERVAL_MS } = options;
  const { documents } = cluster;
  let serving: PresenceService | undefined;
  /** The duty was here before: in between nobody knew better. */
  let served = false;

  const duty = runAsSingleton({
    ...{ leases: cluster.leases, name: "presence", logger },
    async begin() {
      const trusted = served || (await cluster.nodes()).some(({ id }) => id !== cluster.nodeId);
      const found = await documents.get(FOLLOWED.collection, FOLLOWED.key);
      const followedUntil = followedSchema.safeParse(found?.value).data?.until;
      serving = startPresence({ ...options, trusted, followedUntil });
      served = true;
      const note = () =>
        documents.put(FOLLOWED.collection, FOLLOWED.key, { until: now() }).catch((error: unknown) => {
          logger.debug({ err: error }, "not noted that presence is followed, trying again");
        });
      const timer = setInterval(() => void note(), noteIntervalMs);
      timer.unref();
      return {
        async stop() {
          clearInterval(timer);
          await note();
          serving?.stop();
          serving = undefined;
        },
      };
    },
  });

  return {
    of: (camera) => serving?.of(camera) ?? publishedPresence(journal, tree, camera),
    stop: () => duty.stop(),
  };
}
