import { type ReactNode, useState } from "react";
import { DASHBOARD } from "../../contract/channels.ts";
import { CloseCode } from "../../contract/codes.ts";
import { useDashboardStore } from "../react/real-time-provider.tsx";
import { useRealTimeData } from "../react/use-real-time-data.ts";
import type { Access } from "./access.ts";
import { AlertsPanel } from "./components/alerts-panel.tsx";
import { CameraGrid } from "./components/camera-grid.tsx";
import { EventFeed } from "./components/event-feed.tsx";
import { JobsPanel } from "./components/jobs-panel.tsx";
import { OfflineBanner } from "./components/offline-banner.tsx";
import { PageHeader } from "./components/page-header.tsx";
import { SignIn } from "./components/sign-in.tsx";
import { SystemPanel } from "./components/system-panel.tsx";
import type { Pictures } from "./pictures.ts";

export interface AppProps {
  access: Access;
  pictures: Pictures;
  /** Called when the page has forgotten what it keeps over reloads. */
  onSignOut: () => void;
}

export function App({ access, pictures, onSignOut }: AppProps): ReactNode {
  const data = useRealTimeData();
  const store = useDashboardStore(DASHBOARD);
  const [signedIn, setSignedIn] = useState(access.signedIn);
  const { stopped, cause } = data.connection;
  const wantsKey = stopped && (cause?.code === CloseCode.authInvalid || cause?.code === CloseCode.revoked);

  const signIn = async (key: string): Promise<void> => {
    await access.signIn(key);
    setSignedIn(true);
    data.reconnect();
  };

  const signOut = (): void => {
    // Whoever comes next is not to see what the last one saw.
    store.forget();
    onSignOut();
  };

  return (
    <div className="app" data-live={data.live}>
      <PageHeader data={data} onSignOut={signedIn && !wantsKey ? signOut : undefined} />
      {wantsKey ? (
        <SignIn onSignIn={signIn} reason={cause?.reason} />
      ) : (
        <>
          <OfflineBanner data={data} />
          <main className="layout">
            <CameraGrid data={data} pictures={pictures} />
            <aside className="side" aria-label="What happens">
              <AlertsPanel data={data} />
              <JobsPanel data={data} />
              <EventFeed data={data} />
              <SystemPanel data={data} />
            </aside>
          </main>
        </>
      )}
    </div>
  );
}
