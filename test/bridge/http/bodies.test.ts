import { expect, it, onTestFinished } from "vitest";
import { OPERATOR_KEY, startTestBridge } from "../support/test-bridge.ts";

it("the server reads a body with a byte order mark and CR line ends", async () => {
  const bridge = await startTestBridge();
  onTestFinished(() => bridge.stop());
  const body = '\ufeff{"user_id":"alice",\r\n"permissions":["jobs:read"]}\r\n';
  expect((await bridge.call("/auth/token", { method: "POST", token: OPERATOR_KEY, body })).status).toBe(200);
});
