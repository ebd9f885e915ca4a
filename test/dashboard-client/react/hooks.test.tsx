import { renderToString } from "react-dom/server";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  RealTimeProvider,
  useCamera,
  useChannel,
  useCommand,
  useConnectionStatus,
} from "../../../dashboard-client/react/index.ts";
import { useDashboardStore } from "../../../dashboard-client/react/real-time-provider.tsx";
import type { DashboardStore } from "../../../dashboard-client/state/dashboard-store.ts";
import { connect, serve, until, untilConnected } from "../support/harness.ts";

function Camera() {
  const { camera, live, canCommand } = useCamera("north");
  return <p>{`${camera?.presence?.value.status ?? "no camera"} ${live} ${canCommand}`}</p>;
}

function Alerts() {
  const { events, live, gap } = useChannel("alerts");
  return <p>{`${events.map(({ event }) => event).join()} ${live} ${gap === undefined}`}</p>;
}

function Status() {
  return <p>{useConnectionStatus().status}</p>;
}

function Command() {
  return <p>{useCommand("north").state.status}</p>;
}

describe("the hooks of one part of the data", () => {
  it("render the camera and the events of its own channel, and the status of the connection", async () => {
    const server = await serve();
    const { client } = connect(server.url);
    const stores = new Map<string, DashboardStore>();
    function Peek({ channel }: { channel: string }) {
      stores.set(channel, useDashboardStore(channel));
      return null;
    }
    const render = (): string =>
      renderToString(
        <RealTimeProvider client={client} settings={{ storage: null, notifyIntervalMs: 1 }}>
          <Peek channel="camera:north" />
          <Peek channel="alerts" />
          <Camera />
          <Alerts />
          <Status />
          <Command />
        </RealTimeProvider>,
      );
    expect(render()).toBe("<p>no camera false false</p><p> false true</p><p>connecting</p><p>idle</p>");
    for (const store of stores.values()) onTestFinished(store.subscribe(() => {}));
    await untilConnected(client);
    await until(() => [...stores.values()].every((store) => store.getSnapshot().live));
    server.publish({
      ...{ event: "camera.online", camera: "north", topic: "cameras/north/state/presence", channels: ["camera:north"] },
      data: { status: "online", since: "2026-03-01T06:00:00.000Z" },
    });
    server.publish({ event: "alert.raised", channels: ["alerts"], data: { alert: "disk" } });
    await until(() => [...stores.values()].every((store) => store.getSnapshot().events.length === 1));
    expect(render()).toMatch(/^<p>online true (true|false)<\/p><p>alert.raised true true<\/p><p>connected<\/p>/);
  });

  it("throw an error without a client", () => {
    expect(() => renderToString(<Status />)).toThrow("RealTimeProvider");
    expect(() => renderToString(<Command />)).toThrow("RealTimeProvider");
  });
});
