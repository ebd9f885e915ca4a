import { lookup } from "node:dns/promises";
import { expect, it } from "vitest";
import { startTestBridge } from "../support/test-bridge.ts";

const env = { JWT_SECRET: "s".repeat(32), OPERATOR_KEY: "o".repeat(32) };

it.each([
  ["has no known address", "nowhere.invalid", "HOST: no address is known for the name nowhere.invalid"],
  ["belongs to another machine", "192.0.2.1", "HOST: this machine has no address 192.0.2.1"],
])("the server reports that HOST is wrong if HOST %s", async (_, HOST, said) => {
  await expect(startTestBridge({ env: { ...env, HOST } })).rejects.toThrow(said);
});

it("the server resolves a HOST that is a name, and listens on its address", async () => {
  const bridge = await startTestBridge({ env: { ...env, HOST: "localhost" } });
  const { address, family } = await lookup("localhost");
  const answer = await fetch(`http://${family === 6 ? `[${address}]` : address}:${bridge.port}/health`);
  expect(answer.status).toBe(200);
  await bridge.stop();
});
