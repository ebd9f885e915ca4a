import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { RealTimeProvider } from "../react/real-time-provider.tsx";
import { App } from "./app.tsx";
import { ErrorBoundary } from "./components/error-boundary.tsx";
import { applyTheme } from "./preferences.ts";
import { reloadOnce } from "./reload-once.ts";
import { type Services, ServicesProvider } from "./services.tsx";

/** Renders the page. @param restart the user has changed: nothing of the user before may remain */
export function showPage(services: Services, restart: () => void): void {
  const element = document.getElementById("page");
  if (element === null) throw new Error("index.html has no element with the id page");
  applyTheme();
  createRoot(element).render(
    <StrictMode>
      <RealTimeProvider client={services.client}>
        <ServicesProvider services={services}>
          <ErrorBoundary part="Skylapse" onError={reloadOnce}>
            <App onRestart={restart} />
          </ErrorBoundary>
        </ServicesProvider>
      </RealTimeProvider>
    </StrictMode>,
  );
}
