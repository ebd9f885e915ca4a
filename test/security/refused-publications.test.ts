import { afterAll, beforeAll, expect, it } from "vitest";
import { openDashboard, signToken } from "../support/dashboard.ts";
import { type Program, ROOT, startProgram } from "./mqtt-program.ts";

let program: Program;

beforeAll(async () => {
  program = await startProgram();
});
afterAll(() => program.stop());

const NORTH = `${ROOT}/cameras/north`;

/** The reports of refused publications that a dashboard on north's channel receives while `act` runs. */
async function refusalsDuring(act: () => Promise<void>) {
  const dashboard = await openDashboard(program.skylapse.socket, signToken("a", ["camera:read"]), "camera:north");
  await act();
  const north = await program.client("north");
  await north.publishAsync(`${NORTH}/events/marker`, "{}", { qos: 1 });
  await dashboard.next("dashboard_event", ({ event, snapshot }) => event === "marker" && snapshot !== true);
  await dashboard.close();
  return dashboard.messages.flatMap((message) =>
    message.type === "dashboard_event" && message.event === "publication.refused"
      ? [{ data: message.data, camera: message.camera }]
      : [],
  );
}

it("the server reports a camera's refused publications on the camera's channel, once for each reason", async () => {
  const refusals = await refusalsDuring(async () => {
    const north = await program.client("north");
    for (let n = 0; n < 5; n++) await north.publishAsync(`${ROOT}/cameras/south/a\u202e${n}`, "x", { qos: 1 });
    await north.publishAsync(`${NORTH}/previews/p1`, "no picture", { qos: 1 });
  });
  expect(refusals).toMatchObject([
    { camera: "north", data: { reason: "bad_topic", count: 1, topic: `${ROOT}/cameras/south/a\\u202e0` } },
    { camera: "north", data: { reason: "bad_picture", count: 1, topic: `${NORTH}/previews/p1` } },
  ]);
});

it("the server does not report a user's refused publication on the channel of the camera", async () => {
  const refusals = await refusalsDuring(async () => {
    await (await program.client(["dashboard:read"])).publishAsync(`${NORTH}/about`, "x", { qos: 1 });
  });
  expect(refusals).toEqual([]);
});
