import { takeDuty } from "./alerts/duty.ts";
import type { Cluster } from "./cluster/cluster.ts";
import { type PresenceOptions, type PresenceService, publishedPresence, startPresence } from "./presence.ts";

export interface SharedPresenceOptions extends Omit<PresenceOptions, "trusted"> {
  cluster: Pick<Cluster, "leases" | "nodeId" | "nodes">;
}

/** Presence is made up at one node at a time: each camera comes and goes once, whichever nodes there are. The others read it. */
export function sharePresence({ cluster, ...options }: SharedPresenceOptions): PresenceService & {
  stop(): Promise<void>;
} {
  const { journal, tree, logger } = options;
  let serving: PresenceService | undefined;
  /** The duty was here before: in between nobody knew better. */
  let served = false;

  const duty = takeDuty({
    ...{ leases: cluster.leases, name: "presence", logger },
    async begin() {
      const trusted = served || (await cluster.nodes()).some(({ id }) => id !== cluster.nodeId);
      serving = startPresence({ ...options, trusted });
      served = true;
      return {
        async stop() {
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
