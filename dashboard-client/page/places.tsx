import type { ComponentType } from "react";
import type { ChannelGrants } from "../../contract/permissions.ts";
import type { IconName } from "./components/icon.tsx";
import { later } from "./later.tsx";
import { FleetPlace } from "./places/fleet/fleet-place.tsx";

export interface Place {
  /** The text `place.{name}` is its title. */
  name: "fleet" | "alerts" | "jobs" | "events" | "system" | "people" | "camera" | "firstRun";
  /** A route of wouter, behind the `#` of the address. */
  path: string;
  icon: IconName;
  /** After `g`, this key goes to the place. Undefined: the navigation does not list the place. */
  key: string | undefined;
  /** Whether a token may see the place. Default: every token. */
  isAllowed?: (grants: ChannelGrants) => boolean;
  Page: ComponentType;
}

export const PLACES: readonly Place[] = [
  { name: "fleet", path: "/", icon: "camera", key: "f", Page: FleetPlace },
  {
    ...{ name: "camera", path: "/cameras/:camera/*?", icon: "camera", key: undefined },
    Page: later(() => import("./places/camera/camera-place.tsx")),
  },
  {
    ...{ name: "alerts", path: "/alerts/*?", icon: "alert", key: "a" },
    Page: later(() => import("./places/alerts/alerts-place.tsx")),
  },
  {
    ...{ name: "jobs", path: "/jobs/*?", icon: "film", key: "j" },
    Page: later(() => import("./places/jobs/jobs-place.tsx")),
  },
  {
    ...{ name: "events", path: "/events/*?", icon: "clock", key: "e" },
    Page: later(() => import("./places/events/events-place.tsx")),
  },
  {
    ...{ name: "system", path: "/system/*?", icon: "chip", key: "s" },
    Page: later(() => import("./places/system/system-place.tsx")),
  },
  {
    ...{ name: "people", path: "/people/*?", icon: "key", key: "p" },
    isAllowed: (grants) => grants.admin,
    Page: later(() => import("./places/people/people-place.tsx")),
  },
  {
    ...{ name: "firstRun", path: "/first-run", icon: "camera", key: undefined },
    isAllowed: (grants) => grants.admin,
    Page: later(() => import("./places/first-run/first-run-place.tsx")),
  },
];
