import { describe, expect, it } from "vitest";
import { connect } from "./client.ts";
import { startRealtime } from "./server.ts";

describe("a token on a live connection", () => {
  it("causes a warning before it expires, and closes the connection after the grace period", async () => {
    const { url, token, event } = await startRealtime({ tokenGraceMs: 600 });
    const startedAt = performance.now();
    const client = await connect(url, token("alice", undefined, 4));
    const { expires_in } = await client.next("token_expiring");
    expect(expires_in).toBeLessThanOrEqual(4);
    await client.subscribe("dashboard");
    await event("north", 1);
    await client.events(1);
    expect((await client.closed).code).toBe(4100);
    expect(client.messages.filter(({ type }) => type === "token_expiring")).toHaveLength(1);
    // The token is valid for three to four seconds, because its times are whole seconds. Then the grace period follows.
    expect(performance.now() - startedAt).toBeGreaterThan(3_500);
  });

  it("permits no new requests once it has expired, but subscriptions continue", async () => {
    const { url, token, event } = await startRealtime({ tokenGraceMs: 20_000 });
    const client = await connect(url, token("alice", undefined, 4));
    await client.subscribe("dashboard");
    await expect.poll(async () => (await client.subscribe(`camera:c${Date.now()}`)).code, { interval: 100 }).toBe(109);
    client.send({ type: "command", id: 1, camera: "north", name: "reboot" });
    expect(await client.next("command_result")).toMatchObject({ status: "rejected", code: 109 });
    await event("north", "still");
    expect(await client.events(1)).toMatchObject([{ data: "still" }]);
    client.send({ type: "auth", token: token(), id: "r" });
    expect(await client.next("auth_success")).toMatchObject({ id: "r" });
    expect(await client.subscribe("camera:north")).toMatchObject({ success: true });
  });

  it("can be renewed on the same connection", async () => {
    const { url, token, sockets } = await startRealtime({ tokenWarningMs: 3_000, tokenGraceMs: 100 });
    const client = await connect(url, token("alice", undefined, 4));
    const [before] = sockets.connections();
    await client.next("token_expiring");
    client.send({ type: "auth", token: token("alice"), id: 2 });
    const success = await client.next("auth_success");
    expect(success.connection_id).toBe(before?.connection_id);
    expect(success.expires_in).toBeGreaterThan(800);
    expect(client.messages.filter(({ type }) => type === "token_expiring")).toHaveLength(1);
  });

  it("cannot be replaced by an invalid token or a token of another user, and the connection stays as it was", async () => {
    const { url, token } = await startRealtime();
    const client = await connect(url, token("alice"));
    client.send({ type: "auth", token: token("bob"), id: 1 });
    expect(await client.next("error")).toMatchObject({ code: 103, id: 1 });
    client.send({ type: "auth", token: "nonsense", id: 2 });
    expect(await client.next("error")).toMatchObject({ code: 107, id: 2 });
    client.send({ type: "auth", id: 3 });
    expect(await client.next("error")).toMatchObject({ code: 107, id: 3 });
    expect(await client.subscribe("dashboard")).toMatchObject({ success: true });
  });

  it("that is replaced by a token with fewer permissions loses channels and limits the dashboard", async () => {
    const { url, token, event, sockets } = await startRealtime();
    const client = await connect(url, token("alice", ["dashboard:read", "camera:read", "jobs:read"]));
    for (const channel of ["dashboard", "camera:south", "jobs"]) await client.subscribe(channel);
    client.send({ type: "auth", token: token("alice", ["dashboard:read", "camera:north:read"]) });
    const lost = [await client.next("unsubscription_result"), await client.next("unsubscription_result")];
    expect(lost).toMatchObject([
      { channel: "camera:south", success: true, code: 103 },
      { channel: "jobs", success: true, code: 103 },
    ]);
    expect(sockets.channelCounts()).toEqual({ dashboard: 1 });
    await event("south", "hidden");
    await event("north", "shown");
    expect(await client.events(1)).toMatchObject([{ data: "shown" }]);
  });

  it("that is replaced by a token with more permissions brings the state of further cameras", async () => {
    const { url, token, event, state } = await startRealtime();
    await state("north", "power", "n");
    await state("south", "power", "s");
    const client = await connect(url, token("alice", ["dashboard:read", "camera:north:read"]));
    await client.subscribe("dashboard");
    await client.events(1);
    client.send({ type: "auth", token: token("alice", ["dashboard:read"]) });
    await client.events(2);
    await event("south", "shown");
    expect((await client.events(3)).map(({ data, snapshot }) => [data, snapshot])).toEqual([
      ["n", true],
      ["s", true],
      ["shown", undefined],
    ]);
  });
});
