import { afterAll, beforeAll, expect, it } from "vitest";
import { smallJpeg } from "../support/jpeg.ts";
import { type Program, ROOT, startProgram } from "./mqtt-program.ts";

let program: Program;

beforeAll(async () => {
  program = await startProgram({ MAX_MQTT_BYTES_PER_SECOND: "0" });
});
afterAll(() => program.stop());

const FLOODING_CONNECTIONS = 30;
const PICTURES = 10;

it("the server acknowledges all previews of one camera over thirty connections, and disconnects no client", async () => {
  const south = await program.client("south");
  const flooding = await Promise.all(Array.from({ length: FLOODING_CONNECTIONS }, () => program.client("north")));
  const lost: string[] = [];
  for (const client of [south, ...flooding]) client.on("close", () => lost.push(client.options.clientId ?? ""));
  const jpeg = smallJpeg("flood", { bytes: 60_000 });
  const flood = flooding.flatMap((client, connection) =>
    Array.from({ length: PICTURES }, (_, n) =>
      client.publishAsync(`${ROOT}/cameras/north/previews/p${connection}-${n}`, jpeg, { qos: 1 }),
    ),
  );
  await south.publishAsync(`${ROOT}/cameras/south/previews/p`, jpeg, { qos: 1 });
  await Promise.all(flood);
  expect(lost).toEqual([]);
});
