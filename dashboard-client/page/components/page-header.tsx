import type { ReactNode } from "react";
import type { RealTimeData } from "../../dashboard-store.ts";
import { ConnectionPill } from "./connection-pill.tsx";

export function PageHeader({
  data,
  mustSignIn,
  userId,
  onSignOut,
}: {
  data: RealTimeData;
  /** There is no connection to tell of then. */
  mustSignIn: boolean;
  userId: string | undefined;
  onSignOut: (() => void) | undefined;
}): ReactNode {
  return (
    <header className="page-header">
      <h1 className="brand">
        <svg className="brand-mark" viewBox="0 0 32 32" aria-hidden="true">
          <circle cx="22" cy="10" r="4.5" className="brand-sun" />
          <path d="M2 26 11.5 11l5.6 8.4 2.9-4L30 26z" className="brand-peak" />
        </svg>
        Skylapse
      </h1>
      <p className="page-summary">{summary(data)}</p>
      {!mustSignIn && <ConnectionPill data={data} />}
      {onSignOut !== undefined && (
        <button type="button" className="text-button sign-out" title={`Signed in as ${userId}`} onClick={onSignOut}>
          Sign out
        </button>
      )}
    </header>
  );
}

function summary({ cameras, live, loaded }: RealTimeData): string {
  if (!loaded || cameras.size === 0) return "";
  const count = `${cameras.size} ${cameras.size === 1 ? "camera" : "cameras"}`;
  if (!live) return count;
  const online = [...cameras.values()].filter(({ presence }) => presence?.value.status === "online").length;
  return online === cameras.size
    ? `${count}, ${cameras.size === 1 ? "online" : "all online"}`
    : `${count}, ${online} online`;
}
