import { describe, expect, it } from "vitest";
import { type Realtime, startRealtime } from "../../bridge/websocket/server.ts";
import { connect, type Followed, follow, until, untilLive } from "../support/harness.ts";

function numbers({ events }: Followed): number[] {
  return events.filter(({ event }) => event === "counted").map(({ data }) => Number((data as { n: number }).n));
}

/** Publishes numbered events of two cameras, and cuts all connections from time to time. */
async function countAndCut(server: Realtime, count: number): Promise<void> {
  for (let n = 1; n <= count; n++) {
    await server.event(n % 2 === 0 ? "north" : "south", { n }, "counted");
    if (n % 40 === 0) for (const socket of server.accepted) socket.destroy();
  }
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}

describe("the client with the real bridge", () => {
  it("receives every event once and in order across many lost connections", async () => {
    const server = await startRealtime();
    const followed = follow(connect(server.url, { getToken: () => server.token() }).client);
    await until(() => followed.states.includes("snapshot"));
    await countAndCut(server, 400);
    await until(() => numbers(followed).length >= 400);
    expect(numbers(followed)).toEqual(upTo(400));
    expect(followed.gaps).toEqual([]);
  });

  it("receives every event once and in order on each of two overlapping channels", async () => {
    const server = await startRealtime();
    const { client } = connect(server.url, { getToken: () => server.token() });
    const everything = follow(client, "dashboard");
    const north = follow(client, "camera:north");
    await until(() => everything.states.includes("snapshot") && north.states.includes("snapshot"));
    await countAndCut(server, 400);
    await until(() => numbers(everything).length >= 400 && numbers(north).length >= 200);
    expect(numbers(everything)).toEqual(upTo(400));
    expect(numbers(north)).toEqual(upTo(400).filter((n) => n % 2 === 0));
    expect([everything.gaps, north.gaps]).toEqual([[], []]);
  });

  it("receives the state first, and knows at the latest at the next ping that the state is complete", async () => {
    const server = await startRealtime({ pingIntervalMs: 200 });
    await server.state("north", "storage", { total_bytes: 10, free_bytes: 4 });
    const followed = follow(connect(server.url, { getToken: () => server.token() }).client);
    await untilLive(followed);
    expect(followed.events).toMatchObject([{ snapshot: true, topic: "cameras/north/state/storage" }]);
    expect(followed.subscription.cursor).toEqual({ epoch: server.journal.epoch, position: server.journal.head });
  });

  it("reports a gap if the journal lacks some of the missed events, and receives the remaining events", async () => {
    const server = await startRealtime({ retentionEvents: 20 });
    const { client } = connect(server.url, { getToken: () => server.token() });
    const followed = follow(client);
    await until(() => followed.states.includes("snapshot"));
    await server.event("north", { n: 1 }, "counted");
    await until(() => numbers(followed).length === 1);
    const { cursor } = followed.subscription;
    followed.subscription.unsubscribe();
    for (let n = 2; n <= 100; n++) await server.event("north", { n }, "counted");
    await server.journal.trim();
    const later = follow(client, "dashboard", cursor);
    await untilLive(later);
    expect(later.gaps).toHaveLength(1);
    const received = numbers(later);
    expect(received.at(-1)).toBe(100);
    expect(received).toEqual(upTo(100).slice(-received.length));
    expect(received[0]).toBeGreaterThanOrEqual(later.gaps[0]?.before ?? 0);
  });
});
