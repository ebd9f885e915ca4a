import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { LONG, TIMEOUT_MS } from "../../support/long-form.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { killNodes, type NodeProcess, startNode, startTwoNodes, untilAccepted } from "./two-nodes.ts";

const ROUNDS = LONG ? 300 : 8;
const KILLS = LONG ? 15 : 1;
const PASSWORD = "a mountain at dawn";

let redis: RedisServer;
let nodes: [NodeProcess, NodeProcess];
beforeAll(async () => {
  redis = await startRedis();
  nodes = await startTwoNodes(options());
  await prepare(nodes[0]);
});
afterAll(async () => {
  await killNodes();
  await redis.remove();
});

const options = () => ({ redisUrl: redis.url, prefix: "changes" });
const settings = (iso: number) => ({ iso });
const schedule = (interval_s: number) => ({ entries: [{ kind: "clock", start: "06:00", end: "09:00", interval_s }] });
const cameraAt = async (node: NodeProcess) => (await node.call("GET", "/cameras/north")).body;
const groupAt = async (node: NodeProcess) => (await node.call("GET", "/camera-groups")).body.groups[0];

it("changes at two nodes at the same time are all applied, or one is refused with a conflict", {
  timeout: TIMEOUT_MS,
}, async () => {
  for (const node of nodes) await vi.waitUntil(async () => (await cameraAt(node))?.id && (await groupAt(node)));
  const counts = { groupChanges: 0, groupConflicts: 0, versions: 0 };
  for (let round = 1; round <= ROUNDS; round++) {
    const [one, other] = round % 2 === 0 ? nodes : nodes.toReversed();
    if (one === undefined || other === undefined) throw new Error("no node");

    // Different fields of one record.
    const both = await Promise.all([
      one.call("PUT", "/cameras/north", { name: `Name ${round}` }),
      other.call("PUT", "/cameras/north", { notes: `Notes ${round}` }),
    ]);
    expect(both.map(({ status }) => status)).toEqual([200, 200]);
    const written = { name: `Name ${round}`, notes: `Notes ${round}` };
    for (const node of nodes) await expect.poll(() => cameraAt(node)).toMatchObject({ record: written });

    // Both admins add a camera to the list that they have read.
    const { version, cameras } = await groupAt(one);
    await vi.waitUntil(async () => (await groupAt(other)).version === version);
    const added = [`c-${round}`, `d-${round}`];
    const changes = await Promise.all(
      [one, other].map((node, index) =>
        node.call("PUT", "/camera-groups/alps", { version, cameras: [...cameras.slice(-50), added[index]] }),
      ),
    );
    const accepted = changes.filter(({ status }) => status === 200);
    const refused = changes.filter(({ status, body }) => status === 409 && body.error.code === "conflict");
    expect([accepted.length, refused.length]).toEqual([1, 1]);
    counts.groupChanges += accepted.length;
    counts.groupConflicts += refused.length;
    for (const node of nodes) await expect.poll(() => groupAt(node)).toEqual(accepted[0]?.body);

    // Each wish gets a version of its own.
    const wishes = await Promise.all([
      one.call("PUT", "/cameras/north/schedule", schedule(60 + round)),
      other.call("PUT", "/cameras/north/schedule", schedule(60 + ROUNDS + round)),
    ]);
    const versions = wishes.map(({ body }) => body.version).sort((first, second) => first - second);
    expect(versions).toEqual([2 * round - 1, 2 * round]);
    counts.versions += 2;
    const newest = wishes.find(({ body }) => body.version === 2 * round)?.body;
    for (const node of nodes)
      await expect
        .poll(async () => (await cameraAt(node)).states.desired?.data.schedule)
        .toMatchObject({ version: 2 * round, value: newest.value });
  }
  if (LONG) console.info("concurrent changes", { rounds: ROUNDS, ...counts });
});

/** Requests whose effects are independent, and how each is seen at a node. */
const WRITES: { path: string; method: string; body: (run: number) => object; seen: (node: NodeProcess) => unknown }[] =
  [
    {
      ...{ method: "PUT", path: "/cameras/north", body: (run) => ({ name: `Name ${run}` }) },
      seen: async (node) => (await cameraAt(node)).record?.name,
    },
    {
      ...{ method: "PUT", path: "/camera-groups/alps", body: (run) => ({ name: `Alps ${run}` }) },
      seen: async (node) => (await groupAt(node))?.name,
    },
    {
      ...{ method: "PUT", path: "/cameras/north/settings", body: (run) => settings(100 + run) },
      seen: async (node) => (await cameraAt(node)).states.desired?.data.settings?.value.iso,
    },
    {
      ...{ method: "PUT", path: "/users/alice", body: (run) => ({ permissions: [`camera:c${run}:read`] }) },
      seen: async (node) => (await node.call("GET", "/users")).body.users[0]?.permissions[0],
    },
  ];
const EXPECTED = [
  (run: number) => `Name ${run}`,
  (run: number) => `Alps ${run}`,
  (run: number) => 100 + run,
  (run: number) => `camera:c${run}:read`,
];

async function prepare(node: NodeProcess): Promise<void> {
  await node.say("cameras/north/state/storage", { total_bytes: 100, free_bytes: 42 }, true);
  await node.call("POST", "/camera-groups", { id: "alps", name: "Alps" });
  await node.call("POST", "/users", { user_id: "alice", password: PASSWORD, role: "viewer" });
}

async function writeAll(node: NodeProcess, run: number): Promise<void> {
  const answers = await Promise.all(
    WRITES.map(({ method, path, body }) => untilAccepted(() => node.call(method, path, body(run)))),
  );
  expect(answers.map(({ status }) => status)).toEqual(WRITES.map(() => 200));
}

async function expectAll(node: NodeProcess, run: number): Promise<void> {
  for (const [index, { seen }] of WRITES.entries()) await expect.poll(() => seen(node)).toEqual(EXPECTED[index]?.(run));
}

it("what was answered with 2xx is in effect at both nodes after kill -9 of Redis", {
  timeout: TIMEOUT_MS,
}, async () => {
  for (let run = 1; run <= KILLS; run++) {
    await writeAll(nodes[run % 2] ?? nodes[0], run);
    await redis.stop("SIGKILL");
    await redis.start();
    for (const node of nodes) await expectAll(node, run);
  }
  if (LONG) console.info("kill -9 of Redis", { kills: KILLS, writes: KILLS * WRITES.length, lost: 0 });
});

it("what a node has answered with 2xx is in effect at the other node after kill -9", {
  timeout: TIMEOUT_MS,
}, async () => {
  let [first, second] = nodes;
  // Other values than those of the test before.
  for (let run = KILLS + 1; run <= 2 * KILLS; run++) {
    // In turn, the killed node holds the leases, or does not.
    const [killed, other] = run % 2 === 0 ? [second, first] : [first, second];
    await writeAll(killed, run);
    await killed.kill();
    await expectAll(other, run);
    [first, second] = [other, run < 2 * KILLS ? await startNode(options()) : other];
  }
  if (LONG) console.info("kill -9 of the node that answered", { kills: KILLS, writes: KILLS * WRITES.length, lost: 0 });
});
