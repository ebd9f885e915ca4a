import type { ReactNode } from "react";
import { Link, useLocation } from "wouter";
import { Icon } from "../components/icon.tsx";
import { PLACES, type Place } from "../places.tsx";
import { t } from "../text/i18n.ts";
import { useDashboard } from "../use-dashboard.ts";

/** The places that the token may see. Without a connection, all of them. */
export function useVisiblePlaces(): readonly Place[] {
  return useDashboard(({ grants, connection }) =>
    PLACES.filter(
      ({ key, isAllowed }) =>
        key !== undefined && (connection.status !== "connected" || isAllowed === undefined || isAllowed(grants)),
    ),
  );
}

/** At the side of a wide window, at the bottom of a phone. */
export function Navigation(): ReactNode {
  const places = useVisiblePlaces();
  const [path] = useLocation();
  const raised = useDashboard(({ alerts }) => alerts.size);
  return (
    <nav className="navigation" aria-label={t("shell.navigation")}>
      <ul>
        {places.map((place) => (
          <li key={place.name}>
            <Link href={place.path.replace("/*?", "")} aria-current={isCurrent(place, path) ? "page" : undefined}>
              <Icon name={place.icon} />
              <span>{t(`place.${place.name}`)}</span>
              {place.name === "alerts" && raised > 0 && <span className="count">{raised}</span>}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function isCurrent({ name, path }: Place, shown: string): boolean {
  if (name === "fleet") return shown === "/" || shown.startsWith("/cameras/");
  return shown === path.replace("/*?", "") || shown.startsWith(path.replace("*?", ""));
}
