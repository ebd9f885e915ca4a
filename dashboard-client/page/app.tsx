import { lazy, type ReactNode, Suspense, useEffect, useRef, useState } from "react";
import { Route, Router, Switch } from "wouter";
import { DASHBOARD } from "../../contract/channels.ts";
import { CloseCode } from "../../contract/codes.ts";
import { useDashboardStore } from "../react/real-time-provider.tsx";
import type { RealTimeData } from "../state/dashboard-store.ts";
import { ErrorBoundary } from "./components/error-boundary.tsx";
import { useHashPath, useHashSearch } from "./hash-location.ts";
import { later } from "./later.tsx";
import { UpdateOffer } from "./offline/update-offer.tsx";
import { keepPageInstalled } from "./offline/updates.ts";
import { PLACES } from "./places.tsx";
import { usePreferences } from "./preferences.ts";
import { useServices } from "./services.tsx";
import { Navigation, useVisiblePlaces } from "./shell/navigation.tsx";
import { NotFound } from "./shell/not-found.tsx";
import { OfflineBanner } from "./shell/offline-banner.tsx";
import { PageHeader } from "./shell/page-header.tsx";
import { useShortcuts } from "./shell/shortcuts.ts";
import { loadAllStyles } from "./styles/load-all-styles.ts";
import { loadAllTexts, preferredLanguage, setLanguage, t } from "./text/i18n.ts";
import { useDashboard } from "./use-dashboard.ts";

const SignInPlace = lazy(async () => {
  const [place] = await Promise.all([import("./places/sign-in/sign-in-place.tsx"), loadAllTexts(), loadAllStyles()]);
  return place;
});
const AccountDialog = later(() => import("./places/account/account-dialog.tsx"));
const PreferencesDialog = later(() => import("./shell/preferences-dialog.tsx"));

interface AppProps {
  /** Called when the user has changed, after the cache was deleted. */
  onRestart: () => void;
}

/** The page in the chosen language. A change of the language or of the clock mounts the page again. */
export function App({ onRestart }: AppProps): ReactNode {
  const { language, clock } = usePreferences();
  const [shown, setShown] = useState<string>();
  // Here, so that the dialog stays open when its own choice mounts the page again.
  const dialog = useState(false);
  useEffect(() => {
    const next = language === "auto" ? preferredLanguage() : language;
    void setLanguage(next)
      // Without a connection, a language that was never loaded is not available: the texts stay as they are.
      .catch(() => {})
      .then(() => {
        document.documentElement.lang = next;
        setShown(`${next} ${clock}`);
      });
  }, [language, clock]);
  if (shown === undefined) return null;
  return (
    <Router key={shown} hook={useHashPath} searchHook={useHashSearch}>
      <Page onRestart={onRestart} dialog={dialog} />
    </Router>
  );
}

const pagePart = ({ live, loaded, connection: { stopped, cause } }: RealTimeData) => ({
  live,
  complete: live && loaded,
  mustSignIn: stopped && (cause?.code === CloseCode.authInvalid || cause?.code === CloseCode.revoked),
  revoked: cause?.code === CloseCode.revoked,
});

interface PageProps extends AppProps {
  /** Whether the preferences are shown, as from `useState`. */
  dialog: [boolean, (open: boolean) => void];
}

function Page({ onRestart, dialog: [dialogOpen, setDialogOpen] }: PageProps): ReactNode {
  const { access, client, pictures } = useServices();
  const store = useDashboardStore(DASHBOARD);
  const { live, complete, mustSignIn, revoked } = useDashboard(pagePart);
  const [accountOpen, setAccountOpen] = useState(false);
  useShortcuts(useVisiblePlaces(), () => setDialogOpen(true));

  // On a slow link, the files of all places would delay the cameras and their pictures.
  useEffect(() => {
    if (complete) void pictures.settled().then(keepPageInstalled);
  }, [complete, pictures]);

  const afterSignIn = (before: string | undefined): void => {
    if (before !== undefined && before !== access.userId) {
      store.forget();
      onRestart();
      return;
    }
    client.connect();
  };

  // A new password ends the connection, before or after the answer with the new session.
  const isRenewed = useRef(false);
  const afterPasswordChange = (): void => {
    isRenewed.current = !mustSignIn;
    client.connect();
  };
  useEffect(() => {
    if (!mustSignIn || !isRenewed.current) return;
    isRenewed.current = false;
    client.connect();
  }, [mustSignIn, client]);

  const signOut = (): void => {
    store.forget();
    void access.signOut().finally(onRestart);
  };

  return (
    <div className="app" data-live={live}>
      <button type="button" className="skip-link" onClick={() => document.getElementById("content")?.focus()}>
        {t("shell.skip")}
      </button>
      <ErrorBoundary part="Skylapse">
        <PageHeader
          mustSignIn={mustSignIn}
          onSignOut={access.signedIn && !mustSignIn ? signOut : undefined}
          onPreferences={() => setDialogOpen(true)}
          onAccount={() => setAccountOpen(true)}
        />
      </ErrorBoundary>
      {accountOpen && access.userId !== undefined && (
        <Suspense>
          <AccountDialog
            userId={access.userId}
            onPasswordChanged={afterPasswordChange}
            onSignOut={signOut}
            onClose={() => setAccountOpen(false)}
          />
        </Suspense>
      )}
      {dialogOpen && (
        <Suspense>
          <PreferencesDialog onClose={() => setDialogOpen(false)} />
        </Suspense>
      )}
      {mustSignIn ? (
        <Suspense fallback={<p className="place-loading">{t("common.loading")}</p>}>
          <SignInPlace revoked={revoked} onSignedIn={afterSignIn} />
        </Suspense>
      ) : (
        <div className="page-frame">
          <Navigation />
          <div className="page-content">
            <ErrorBoundary part="Skylapse">
              <UpdateOffer />
              <OfflineBanner />
            </ErrorBoundary>
            <main id="content" tabIndex={-1}>
              <Places />
            </main>
          </div>
        </div>
      )}
    </div>
  );
}

function Places(): ReactNode {
  return (
    <Suspense fallback={<p className="place-loading">{t("common.loading")}</p>}>
      <Switch>
        {PLACES.map(({ name, path, Page: Content }) => (
          <Route key={name} path={path}>
            <ErrorBoundary key={name} part={t(`place.${name}`)}>
              <Content />
            </ErrorBoundary>
          </Route>
        ))}
        <Route>
          <NotFound />
        </Route>
      </Switch>
    </Suspense>
  );
}
