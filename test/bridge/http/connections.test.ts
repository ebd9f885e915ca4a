import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";

let bridge: TestBridge;

beforeAll(async () => {
  bridge = await startTestBridge();
});
afterAll(() => bridge.stop());

describe("/connections", () => {
  it("lists connections, and closes one without affecting the other connection", async () => {
    const [kept, closed] = [await bridge.connect("dashboard:read"), await bridge.connect("dashboard:read")];
    const { connections } = (await bridge.call("/connections", { token: OPERATOR_KEY })).body;
    expect(connections).toHaveLength(2);
    const id = connections[1].connection_id;
    const end = once(closed, "close");
    const answer = await bridge.call(`/connections/${id}`, { method: "DELETE", token: bridge.mint("admin") });
    expect([answer.status, answer.text]).toEqual([204, ""]);
    await end;
    expect(kept.readyState).toBe(kept.OPEN);
    const left = (await bridge.call("/connections", { token: OPERATOR_KEY })).body.connections;
    expect(left.map(({ connection_id }: { connection_id: string }) => connection_id)).not.toContain(id);
    kept.terminate();
  });

  it("responds 404 for an unknown connection", async () => {
    const answer = await bridge.call("/connections/nobody", { method: "DELETE", token: OPERATOR_KEY });
    expect([answer.status, answer.body.error.code]).toEqual([404, "not_found"]);
  });

  it("needs an admin: a request from this machine or with another permission is refused", async () => {
    for (const method of ["GET", "DELETE"]) {
      const path = method === "GET" ? "/connections" : "/connections/nobody";
      expect((await bridge.call(path, { method })).status).toBe(401);
      expect((await bridge.call(path, { method, token: bridge.mint("system:read", "dashboard:read") })).status).toBe(
        403,
      );
    }
  });
});
