import { expect, it, onTestFinished } from "vitest";
import { lines, rawHttp, statusesOf } from "../../security/raw-http.ts";
import { OPERATOR_KEY, startTestBridge } from "../support/test-bridge.ts";

it("the server reads a body with a byte order mark and CR line ends", async () => {
  const bridge = await startTestBridge();
  onTestFinished(() => bridge.stop());
  const body = '\ufeff{"user_id":"alice",\r\n"permissions":["jobs:read"]}\r\n';
  expect((await bridge.call("/auth/token", { method: "POST", token: OPERATOR_KEY, body })).status).toBe(200);
});

it("the server reads the rest of a body that is too large, so that a proxy gets the refusal", async () => {
  const bridge = await startTestBridge();
  onTestFinished(() => bridge.stop());
  const size = 1_048_576;
  const post = (bytes: number) =>
    lines(
      "POST /broadcast HTTP/1.1",
      "Host: x",
      `Authorization: Bearer ${OPERATOR_KEY}`,
      "Content-Type: application/json",
      `Content-Length: ${bytes}`,
    );
  const { socket, received } = await rawHttp(bridge.port, post(size));
  await expect.poll(() => statusesOf(received())).toEqual([413]);
  socket.write("x".repeat(size));
  socket.write(lines("GET /livez HTTP/1.1", "Host: x"));
  await expect.poll(() => statusesOf(received())).toEqual([413, 200]);
  // More than the server is willing to discard.
  const { ended } = await rawHttp(bridge.port, post(5 * size));
  expect(statusesOf(await ended)).toEqual([413]);
});
