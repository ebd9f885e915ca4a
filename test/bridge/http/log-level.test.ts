import { afterAll, beforeAll, expect, it } from "vitest";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";

let bridge: TestBridge;

beforeAll(async () => {
  bridge = await startTestBridge();
});
afterAll(() => bridge.stop());

const put = (body: object, token: string) => bridge.call("/log-level", { method: "PUT", body, token });

it("lets admins read and change the log level", async () => {
  expect((await bridge.call("/log-level", { token: OPERATOR_KEY })).body).toEqual({ level: "silent" });
  expect(await put({ level: "fatal" }, OPERATOR_KEY)).toMatchObject({ status: 200, body: { level: "fatal" } });
  expect((await bridge.call("/log-level", { token: OPERATOR_KEY })).body).toEqual({ level: "fatal" });
});

it("refuses unknown levels and other users", async () => {
  expect(await put({ level: "loud" }, OPERATOR_KEY)).toMatchObject({ status: 400 });
  expect(await put({ level: "info" }, bridge.mint("system:read"))).toMatchObject({ status: 403 });
  expect((await bridge.call("/log-level")).status).toBe(401);
});
