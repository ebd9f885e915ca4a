import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ReplyCode } from "../../../contract/codes.ts";
import type { DashboardEvent } from "../../../contract/socket-messages.ts";
import { AlreadySubscribedError, ClientLimitError } from "../../../dashboard-client/client/errors.ts";
import { connect, follow, serve, until, untilConnected, untilLive } from "../support/harness.ts";
import type { ProtocolServer } from "../support/protocol-server.ts";

function publish(server: ProtocolServer, count: number): void {
  for (let index = 0; index < count; index++) server.publish({});
}

describe("a subscription", () => {
  it("starts with the state and marks the events of a snapshot", async () => {
    const server = await serve();
    server.publish({ topic: "cameras/north/about", event: "camera.about" });
    server.publish({});
    const followed = follow(connect(server.url).client);
    await untilLive(followed);
    expect(followed.events).toEqual([expect.objectContaining({ event: "camera.about", snapshot: true, position: 1 })]);
    expect(followed.snapshots).toEqual(["started", "completed"]);
    expect(followed.states).toEqual(["snapshot", "live"]);
    expect(followed.subscription.cursor).toEqual({ epoch: "first", position: 2 });
  });

  it("resumes after a disconnect, and delivers each missed event once and in order", async () => {
    const server = await serve();
    const followed = follow(connect(server.url).client);
    await untilLive(followed);
    publish(server, 3);
    await until(() => followed.positions().length === 3);
    server.connections[0]?.cut();
    publish(server, 4);
    const again = await server.connection(1);
    expect((await again.next("subscribe")).since).toEqual({ epoch: "first", position: 3 });
    await until(() => followed.positions().length === 7);
    publish(server, 1);
    await until(() => followed.positions().length === 8);
    expect(followed.positions()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(followed.gaps).toEqual([]);
    expect(followed.snapshots).toEqual(["started", "completed"]);
  });

  it("advances its cursor with pings and caught_up, so that a quiet channel can still resume", async () => {
    const server = await serve();
    const followed = follow(connect(server.url).client);
    await untilLive(followed);
    server.connections[0]?.send({ type: "ping", position: 140 });
    await until(() => followed.subscription.cursor?.position === 140);
    expect(await server.connections[0]?.next("pong")).toBeTruthy();
    server.connections[0]?.send({ type: "caught_up", channel: "dashboard", position: 150 });
    await until(() => followed.subscription.cursor?.position === 150);
  });

  it("delivers each event once and in order, even if a server repeats or reorders events", async () => {
    const server = await serve();
    const { client } = connect(server.url);
    const followed = follow(client);
    await untilLive(followed);
    const connection = await server.connection(0);
    const frame = (position: number): DashboardEvent => ({
      ...{ type: "dashboard_event", event: "x", data: {}, timestamp: "2026-03-01T06:30:00.000Z" },
      ...{ channel: "dashboard", position },
    });
    let sent = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 60 }), async (offsets) => {
        const before = followed.events.length;
        const expected: number[] = [];
        let highest = sent;
        for (const position of offsets.map((offset) => sent + offset)) {
          connection.send(frame(position));
          if (position <= highest) continue;
          highest = position;
          expected.push(position);
        }
        sent += 41;
        connection.send(frame(sent));
        await until(() => followed.events.at(-1)?.position === sent);
        expect(followed.positions().slice(before)).toEqual([...expected, sent]);
      }),
      { numRuns: 30 },
    );
  });

  it("delivers an event that names several channels once to each channel", async () => {
    const server = await serve();
    const { client } = connect(server.url);
    const [all, north, south] = [follow(client), follow(client, "camera:north"), follow(client, "camera:south")];
    await Promise.all([all, north, south].map(untilLive));
    server.publish({ channels: ["camera:north", "dashboard"] });
    server.publish({ channels: ["camera:south"] });
    server.publish({ channels: ["dashboard"] });
    const connection = await server.connection(0);
    connection.send({
      ...{ type: "dashboard_event", event: "x", data: {}, timestamp: "", position: 4 },
      ...{ channel: "dashboard", channels: ["dashboard", "dashboard", "camera:north", "camera:elsewhere"] },
    });
    await until(() => all.positions().length === 3);
    expect(all.positions()).toEqual([1, 3, 4]);
    expect(north.positions()).toEqual([1, 4]);
    expect(south.positions()).toEqual([2]);
  });

  it("resumes overlapping channels, each from its own cursor", async () => {
    const server = await serve();
    const { client } = connect(server.url);
    const [all, north] = [follow(client), follow(client, "camera:north")];
    await Promise.all([all, north].map(untilLive));
    server.publish({ channels: ["camera:north", "dashboard"] });
    server.publish({ channels: ["dashboard"] });
    await until(() => all.positions().length === 2);
    server.connections[0]?.cut();
    server.publish({ channels: ["camera:north", "dashboard"] });
    const again = await server.connection(1);
    expect(await again.next("subscribe", ({ channel }) => channel === "dashboard")).toMatchObject({
      since: { position: 2 },
    });
    expect(await again.next("subscribe", ({ channel }) => channel !== "dashboard")).toMatchObject({
      since: { position: 1 },
    });
    await until(() => all.positions().length === 3 && north.positions().length === 2);
    expect(all.positions()).toEqual([1, 2, 3]);
    expect(north.positions()).toEqual([1, 3]);
  });

  it("resumes from a cursor that the application stored", async () => {
    const server = await serve();
    publish(server, 5);
    const followed = follow(connect(server.url).client, "dashboard", { epoch: "first", position: 2 });
    await untilLive(followed);
    expect(followed.positions()).toEqual([3, 4, 5]);
    expect(followed.snapshots).toEqual([]);
    expect(followed.states).toEqual(["catching_up", "live"]);
  });
});

describe("a gap", () => {
  it("is reported when the server has a new journal, and the client then uses the new journal's positions", async () => {
    const server = await serve();
    const followed = follow(connect(server.url).client);
    await untilLive(followed);
    publish(server, 5);
    await until(() => followed.positions().length === 5);
    server.epoch = "second";
    server.journal = [];
    server.connections[0]?.cut();
    await until(() => followed.gaps.length === 1 && followed.subscription.state.status === "live");
    expect(followed.gaps[0]).toMatchObject({ channel: "dashboard", reason: "epoch_changed", after: 5, before: 1 });
    expect(followed.snapshots).toEqual(["started", "completed", "started", "completed"]);
    publish(server, 2);
    await until(() => followed.positions().length === 7);
    expect(followed.positions()).toEqual([1, 2, 3, 4, 5, 1, 2]);
    expect(followed.subscription.cursor).toEqual({ epoch: "second", position: 2 });
  });

  it("is reported when the server has removed the missed events", async () => {
    const server = await serve();
    const followed = follow(connect(server.url).client);
    await untilLive(followed);
    publish(server, 2);
    await until(() => followed.positions().length === 2);
    server.connections[0]?.cut();
    await until(() => followed.subscription.state.status === "waiting");
    publish(server, 5);
    server.trimmedTo = 4;
    await until(() => followed.gaps.length === 1 && followed.subscription.state.status === "live");
    expect(followed.gaps[0]).toMatchObject({ reason: "trimmed", after: 2, before: 8 });
    publish(server, 1);
    await until(() => followed.positions().length === 3);
    expect(followed.positions()).toEqual([1, 2, 8]);
  });

  it("is followed by the events that the server still keeps, and then the channel is live", async () => {
    const server = await serve();
    server.trimmedTo = 10;
    publish(server, 5);
    server.script.subscribe = (connection, { channel, id }) => {
      const result = { type: "subscription_result", channel, success: true, epoch: "first", id } as const;
      connection.channels.add(channel);
      connection.send({ ...result, position: 12, recovered: false, reason: "trimmed", gap: { after: 3, before: 13 } });
      for (const event of server.journal) server.deliver(connection, event, channel);
    };
    const followed = follow(connect(server.url).client, "dashboard", { epoch: "first", position: 3 });
    await until(() => followed.positions().length === 3);
    expect(followed.positions()).toEqual([13, 14, 15]);
    expect(followed.gaps).toMatchObject([{ after: 3, before: 13 }]);
    expect(followed.subscription.state.status).toBe("catching_up");
    server.connections[0]?.send({ type: "caught_up", channel: "dashboard", position: 15 });
    await untilLive(followed);
  });

  it("is also reported on a live connection if the client was too slow", async () => {
    const server = await serve();
    const followed = follow(connect(server.url).client);
    await untilLive(followed);
    publish(server, 1);
    const connection = await server.connection(0);
    connection.send({ type: "lagging", position: 1 });
    connection.send({
      ...{ type: "subscription_result", channel: "dashboard", success: true, epoch: "first", position: 90 },
      ...{ recovered: false, reason: "trimmed", gap: { after: 1, before: 91 } },
    });
    connection.send({ type: "caught_up", channel: "dashboard", position: 95 });
    await until(() => followed.subscription.cursor?.position === 95);
    expect(followed.gaps).toMatchObject([{ after: 1, before: 91, reason: "trimmed" }]);
  });

  it("is reported when the connection was lost before the first snapshot was complete", async () => {
    const server = await serve();
    server.script.subscribe = (connection, { channel, id }) => {
      connection.send({ type: "subscription_result", channel, success: true, epoch: "first", position: 7, id });
      connection.send({
        ...{ type: "dashboard_event", event: "camera.about", data: {}, timestamp: "", position: 3, snapshot: true },
        ...{ channel, topic: "cameras/north/about" },
      });
    };
    const followed = follow(connect(server.url).client);
    await until(() => followed.events.length === 1);
    expect(followed.subscription.cursor).toBeUndefined();
    delete server.script.subscribe;
    server.trimmedTo = 9;
    server.connections[0]?.cut();
    const again = await server.connection(1);
    expect((await again.next("subscribe")).since).toBeUndefined();
    await untilLive(followed);
    expect(followed.gaps).toMatchObject([{ reason: "interrupted", after: 7, before: 10 }]);
  });

  it("is not reported if no event can have been missed", async () => {
    const server = await serve();
    publish(server, 4);
    server.script.subscribe = (connection, { channel, id }) => {
      connection.send({ type: "subscription_result", channel, success: true, epoch: "first", position: 4, id });
      connection.send({ type: "caught_up", channel, position: 4 });
    };
    const followed = follow(connect(server.url).client, "dashboard", { epoch: "first", position: 4 });
    await untilLive(followed);
    expect(followed.gaps).toEqual([]);
  });
});

describe("subscribing", () => {
  it("retries after a temporary refusal, but not after a permanent refusal", async () => {
    const server = await serve();
    const codes = [ReplyCode.rateLimited, ReplyCode.storeUnavailable, ReplyCode.unknownChannel];
    server.script.subscribe = (connection, { channel, id }) => {
      const code = codes.shift() ?? ReplyCode.internal;
      connection.send({ type: "subscription_result", channel, success: false, error: "no", code, id });
    };
    const followed = follow(connect(server.url).client);
    const refusal = () =>
      followed.subscription.state.status === "refused" ? followed.subscription.state.code : undefined;
    await until(() => refusal() === ReplyCode.unknownChannel);
    expect(codes).toEqual([]);
    expect(server.connections[0]?.received.filter(({ type }) => type === "subscribe")).toHaveLength(3);
  });

  it("drops the connection if the server does not answer the request", async () => {
    const server = await serve();
    server.script.subscribe = () => {};
    const followed = follow(connect(server.url, { requestTimeoutMs: 30 }).client);
    await (await server.connection(0)).next("subscribe");
    delete server.script.subscribe;
    await server.connection(1);
    await untilLive(followed);
  });

  it("ends with unsubscribe, and a new subscription ignores the answer to the old subscription", async () => {
    const server = await serve();
    const { client } = connect(server.url);
    const first = follow(client);
    await untilLive(first);
    server.publish({});
    await until(() => first.positions().length === 1);
    first.subscription.unsubscribe();
    expect(first.subscription.state.status).toBe("ended");
    const second = follow(client, "dashboard", first.subscription.cursor);
    server.publish({});
    await untilLive(second);
    await until(() => second.positions().length === 1);
    expect(first.positions()).toEqual([1]);
    expect(second.positions()).toEqual([2]);
    first.subscription.unsubscribe();
    server.publish({});
    await until(() => second.positions().length === 2);
  });

  it("refuses a second subscription to a channel, and a subscription above the limit", async () => {
    const server = await serve();
    const { client } = connect(server.url, { maxSubscriptions: 2 });
    follow(client);
    expect(() => follow(client)).toThrow(AlreadySubscribedError);
    follow(client, "alerts");
    expect(() => follow(client, "jobs")).toThrow(ClientLimitError);
  });

  it("works with a server without a journal: delivers live events, and the state again after each connect", async () => {
    const server = await serve();
    server.script.subscribe = (connection, { channel, id }) => {
      connection.channels.add(channel);
      connection.send({ type: "subscription_result", channel, success: true, id });
    };
    const { client } = connect(server.url);
    const followed = follow(client);
    await untilConnected(client);
    await until(() => followed.states.includes("snapshot"));
    server.publish({ position: 0 });
    server.publish({ position: 0 });
    await until(() => followed.events.length === 2);
    expect(followed.subscription.cursor).toBeUndefined();
    expect(followed.subscription.state.status).toBe("live");
  });
});
