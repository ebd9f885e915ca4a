import { z } from "zod";
import type { Cluster } from "../cluster/cluster.ts";
import { runAsSingleton } from "../cluster/singleton.ts";
import { type PresenceOptions, type PresenceService, startPresence } from "./presence.ts";
import { publishedPresence } from "./published-presence.ts";

interface SharedPresenceOptions extends Omit<PresenceOptions, "trusted" | "watchedUntil"> {
  cluster: Pick<Cluster, "leases" | "nodeId" | "nodes" | "documents">;
}

/** Records until when presence was watched, by the server's own clock. The names are stored: they must not change. */
const WATCHED = { collection: "presence", key: "followed" } as const;
const watchedSchema = z.object({ until: z.number() });
/** Milliseconds between two records. After a crash, `last_heard_at` is off by at most this time. */
const RECORD_INTERVAL_MS = 15_000;

/** Presence, computed on one node at a time, so that each change is published once. Other nodes read the result. */
export function sharePresence({ cluster, ...options }: SharedPresenceOptions): PresenceService {
  const { journal, tree, logger, now = Date.now } = options;
  const { documents } = cluster;
  /** Undefined while another node computes presence. */
  let local: PresenceService | undefined;
  let wasLocal = false;

  const record = () =>
    documents.put(WATCHED.collection, WATCHED.key, { until: now() }).catch((error: unknown) => {
      logger.debug({ err: error }, "time of presence watch not recorded, retrying");
    });

  const singleton = runAsSingleton({
    ...{ leases: cluster.leases, name: "presence", logger },
    async begin() {
      const trusted = wasLocal || (await cluster.nodes()).some(({ id }) => id !== cluster.nodeId);
      const found = await documents.get(WATCHED.collection, WATCHED.key);
      const watchedUntil = watchedSchema.safeParse(found?.value).data?.until;
      const presence = startPresence({ ...options, trusted, watchedUntil });
      local = presence;
      wasLocal = true;
      const timer = setInterval(() => void record(), RECORD_INTERVAL_MS);
      timer.unref();
      return {
        async stop() {
          clearInterval(timer);
          await record();
          local = undefined;
          await presence.stop();
        },
      };
    },
  });

  return {
    of: (camera) => local?.of(camera) ?? publishedPresence(journal, tree, camera),
    stop: () => singleton.stop(),
  };
}
