import { z } from "zod";
import { publishFor } from "../broker-link/publish.ts";
import type { Cluster, ClusterNode } from "../cluster/cluster.ts";
import { documentsFor, runAsSingleton } from "../cluster/singleton.ts";
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
/** Longer than two intervals of heartbeats. */
const COMPANY_MS = 5_000;

/** Presence, computed on one node at a time, so that each change is published once. Other nodes read the result. */
export function sharePresence({ cluster, ...options }: SharedPresenceOptions): PresenceService {
  const { journal, tree, logger, now = Date.now } = options;
  /** Undefined while another node computes presence. */
  let local: PresenceService | undefined;

  const singleton = runAsSingleton({
    ...{ leases: cluster.leases, name: "presence", logger },
    async begin(lease) {
      const documents = documentsFor(lease, cluster.documents);
      const record = () =>
        documents.put(WATCHED.collection, WATCHED.key, { until: now() }).catch((error: unknown) => {
          logger.debug({ err: error }, "time of presence watch not recorded, retrying");
        });
      const trusted = lease.isTakeOver || hasCompany(await cluster.nodes(), cluster.nodeId);
      const found = await documents.get(WATCHED.collection, WATCHED.key);
      const watchedUntil = watchedSchema.safeParse(found?.value).data?.until;
      const publish = publishFor(lease, options.publish);
      const presence = startPresence({ ...options, publish, trusted, watchedUntil });
      local = presence;
      const timer = setInterval(() => void record(), RECORD_INTERVAL_MS);
      timer.unref();
      return {
        async stop() {
          clearInterval(timer);
          local = undefined;
          await presence.stop();
          await record();
        },
      };
    },
  });

  return {
    of: (camera) => local?.of(camera) ?? publishedPresence(journal, tree, camera),
    stop: () => singleton.stop(),
  };
}

/** Whether another node has sent a heartbeat just now. One that ended with all others counts as alive for some seconds. */
function hasCompany(nodes: readonly ClusterNode[], nodeId: string): boolean {
  const own = nodes.find(({ id }) => id === nodeId)?.lastSeenAt ?? 0;
  return nodes.some(({ id, lastSeenAt }) => id !== nodeId && Math.abs(own - lastSeenAt) < COMPANY_MS);
}
