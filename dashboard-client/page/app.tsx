import { type ReactNode, useState } from "react";
import { DASHBOARD } from "../../contract/channels.ts";
import { CloseCode } from "../../contract/codes.ts";
import { useDashboardStore } from "../react/real-time-provider.tsx";
import { useRealTimeData } from "../react/use-real-time-data.ts";
import type { RealTimeData } from "../state/dashboard-store.ts";
import type { Access } from "./access.ts";
import { AlertsPanel } from "./components/alerts-panel.tsx";
import { CameraGrid } from "./components/camera-grid.tsx";
import { ErrorBoundary } from "./components/error-boundary.tsx";
import { EventFeed } from "./components/event-feed.tsx";
import { JobsPanel } from "./components/jobs-panel.tsx";
import { OfflineBanner } from "./components/offline-banner.tsx";
import { PageHeader } from "./components/page-header.tsx";
import { SignIn } from "./components/sign-in.tsx";
import { SystemPanel } from "./components/system-panel.tsx";
import type { FilmLinks } from "./film-links.ts";
import type { Pictures } from "./pictures.ts";

const PANELS = Object.entries<(props: { data: RealTimeData; films: FilmLinks }) => ReactNode>({
  Alerts: AlertsPanel,
  Processing: JobsPanel,
  Activity: EventFeed,
  Backend: SystemPanel,
});

interface AppProps {
  /** The address of the server, such as `https://sky.example.org/`. */
  base: string;
  access: Access;
  pictures: Pictures;
  films: FilmLinks;
  /** Called when the user has changed, after the cache was deleted. */
  onRestart: () => void;
}

export function App({ base, access, pictures, films, onRestart }: AppProps): ReactNode {
  const data = useRealTimeData();
  const store = useDashboardStore(DASHBOARD);
  const [signedIn, setSignedIn] = useState(access.signedIn);
  const { stopped, cause } = data.connection;
  const mustSignIn = stopped && (cause?.code === CloseCode.authInvalid || cause?.code === CloseCode.revoked);

  const signIn = async (userId: string, password: string): Promise<void> => {
    const before = access.userId;
    await access.signIn(userId, password);
    if (before !== undefined && before !== access.userId) {
      store.forget();
      onRestart();
      return;
    }
    setSignedIn(true);
    data.reconnect();
  };

  const signOut = (): void => {
    store.forget();
    void access.signOut().finally(onRestart);
  };

  return (
    <div className="app" data-live={data.live}>
      <ErrorBoundary part="Header">
        <PageHeader
          data={data}
          base={base}
          access={access}
          mustSignIn={mustSignIn}
          onSignOut={signedIn && !mustSignIn ? signOut : undefined}
        />
      </ErrorBoundary>
      {mustSignIn ? (
        <SignIn onSignIn={signIn} userId={access.userId} reason={cause?.reason} />
      ) : (
        <>
          <ErrorBoundary part="Connection">
            <OfflineBanner data={data} base={base} />
          </ErrorBoundary>
          <main className="layout">
            <CameraGrid data={data} pictures={pictures} />
            <aside className="side" aria-label="Alerts and activity">
              {PANELS.map(([part, Panel]) => (
                <ErrorBoundary key={part} part={part}>
                  <Panel data={data} films={films} />
                </ErrorBoundary>
              ))}
            </aside>
          </main>
        </>
      )}
    </div>
  );
}
