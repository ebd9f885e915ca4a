import { type ReactNode, useEffect } from "react";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import type { Access } from "../access.ts";
import { countOffline, countOnline } from "../camera-order.ts";
import { type FleetCounts, useFleetCounts } from "../fleet.ts";
import { ConnectionPill } from "./connection-pill.tsx";

interface PageHeaderProps {
  data: RealTimeData;
  base: string;
  access: Access;
  /** The connection state is not shown while the user must sign in. */
  mustSignIn: boolean;
  onSignOut: (() => void) | undefined;
}

export function PageHeader({ data, base, access, mustSignIn, onSignOut }: PageHeaderProps): ReactNode {
  const counts = useFleetCounts(base, access, data);
  return (
    <header className="page-header">
      <h1 className="brand">
        <svg className="brand-mark" viewBox="0 0 32 32" aria-hidden="true">
          <circle cx="22" cy="10" r="4.5" className="brand-sun" />
          <path d="M2 26 11.5 11l5.6 8.4 2.9-4L30 26z" className="brand-peak" />
        </svg>
        <span>Skylapse</span>
      </h1>
      <Summary data={data} counts={counts} />
      {!mustSignIn && <ConnectionPill data={data} />}
      {onSignOut !== undefined && (
        <button type="button" className="text-button" title={`Signed in as ${access.userId}`} onClick={onSignOut}>
          Sign out
        </button>
      )}
    </header>
  );
}

function Summary({ data, counts }: { data: RealTimeData; counts: FleetCounts | undefined }): ReactNode {
  const offline = data.live ? (counts?.offline ?? countOffline(data)) : 0;
  const title = offline === 0 ? "Skylapse" : `${offline} offline · Skylapse`;
  useEffect(() => {
    document.title = title;
  }, [title]);
  return (
    <p className="page-summary">
      <span>{summary(data, counts)}</span>
      {offline > 0 && (
        <strong className="page-offline" data-testid="offline-count">
          {`${offline} offline`}
        </strong>
      )}
    </p>
  );
}

function summary(data: RealTimeData, counts: FleetCounts | undefined): string {
  const { cameras, live, loaded } = data;
  const total = counts?.total ?? cameras.size;
  if (!loaded || total === 0) return "";
  const count = `${total} ${total === 1 ? "camera" : "cameras"}`;
  if (!live) return count;
  const online = counts?.online ?? countOnline(data);
  const shown = cameras.size < total ? `, showing ${cameras.size}` : "";
  return `${count}, ${online === total ? (total === 1 ? "online" : "all online") : `${online} online`}${shown}`;
}
