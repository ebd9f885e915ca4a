import { renderToString } from "react-dom/server";
import { describe, expect, it, onTestFinished } from "vitest";
import type { Client } from "../../../dashboard-client/client/client.ts";
import { RealTimeProvider, useDashboardStore } from "../../../dashboard-client/react/real-time-provider.tsx";
import { useRealTimeData } from "../../../dashboard-client/react/use-real-time-data.ts";
import type { DashboardStore } from "../../../dashboard-client/state/dashboard-store.ts";
import { connect, serve, until } from "../support/harness.ts";

function Summary({ channel, client }: { channel?: string; client?: Client }) {
  const { connection, cameras, events, live } = useRealTimeData(channel, client === undefined ? {} : { client });
  return <p>{`${connection.status} ${live ? "live" : "not live"} ${[...cameras.keys()].join()} ${events.length}`}</p>;
}

function Peek({ channel, onStore }: { channel: string; onStore: (store: DashboardStore) => void }) {
  onStore(useDashboardStore(channel));
  return null;
}

describe("useRealTimeData", () => {
  it("renders the state of the store, which is empty at first", async () => {
    const server = await serve();
    const { client } = connect(server.url);
    const settings = { storage: null, notifyIntervalMs: 1 };
    let store: DashboardStore | undefined;
    const onStore = (used: DashboardStore): void => {
      store = used;
    };
    const page = (
      <RealTimeProvider client={client} settings={settings}>
        <Peek channel="dashboard" onStore={onStore} />
        <Summary />
      </RealTimeProvider>
    );
    expect(renderToString(page)).toContain("connecting not live  0");
    onTestFinished(store?.subscribe(() => {}) ?? (() => {}));
    await until(() => store?.getSnapshot().live === true);
    server.publish({
      ...{ event: "camera.online", camera: "north", topic: "cameras/north/state/presence" },
      data: { status: "online", since: "2026-03-01T06:00:00.000Z" },
    });
    await until(() => store?.getSnapshot().events.length === 1);
    expect(renderToString(page)).toContain("connected live north 1");
  });

  it("shares one store and one subscription among the components of a channel", async () => {
    const { client } = connect((await serve()).url);
    const stores: DashboardStore[] = [];
    const onStore = (used: DashboardStore): void => {
      stores.push(used);
    };
    renderToString(
      <RealTimeProvider client={client} settings={{ storage: null }}>
        <Peek channel="dashboard" onStore={onStore} />
        <Peek channel="dashboard" onStore={onStore} />
        <Peek channel="alerts" onStore={onStore} />
      </RealTimeProvider>,
    );
    expect(stores[0]).toBe(stores[1]);
    expect(stores[2]).not.toBe(stores[0]);
  });

  it("creates its own client without a provider, and throws an error if it has neither", async () => {
    const { client } = connect((await serve()).url);
    expect(renderToString(<Summary client={client} />)).toContain("not live");
    expect(() => renderToString(<Summary />)).toThrow("RealTimeProvider");
  });
});
