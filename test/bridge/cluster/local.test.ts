import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { expect, test } from "vitest";
import type { Cluster } from "../../../bridge/cluster/cluster.ts";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";
import { type ClusterPlace, describeCluster } from "./cluster-suite.ts";

const logger = pino({ level: "silent" });

interface LocalPlace extends ClusterPlace {
  path: string;
}

async function createPlace(): Promise<LocalPlace> {
  const path = await mkdtemp(join(tmpdir(), "skylapse-cluster-"));
  let cluster: Cluster | undefined;
  return {
    path,
    async open(options = {}) {
      await cluster?.stop();
      cluster = await openLocalCluster({ path, logger, ...options });
      return cluster;
    },
    async dispose() {
      await cluster?.stop();
      await rm(path, { recursive: true, force: true });
    },
  };
}

describeCluster("the cluster of one", createPlace);

test("opening a folder that another process uses fails with a message that has the remedy", async () => {
  const place = await createPlace();
  try {
    await place.open();
    await expect(openLocalCluster({ path: place.path, logger })).rejects.toThrow("is in use");
  } finally {
    await place.dispose();
  }
});
