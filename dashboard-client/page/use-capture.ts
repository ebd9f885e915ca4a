import { useCallback, useEffect, useRef, useState } from "react";
import type { RealTimeData } from "../state/dashboard-store.ts";
import { useServices } from "./services.tsx";
import { type CommandText, captureFailure, captureProgress, captureRequested } from "./text/command-status.ts";
import { useDashboard } from "./use-dashboard.ts";

/** How long an outcome is shown, milliseconds. */
const SHOWN_MS = 12_000;

export interface Capture {
  /** The outcome, or how far the command is. */
  progress: CommandText | undefined;
  connected: boolean;
  allowed: boolean;
  capture(): void;
}

/** Takes a picture with a camera now, and follows the command. */
export function useCapture(camera: string): Capture {
  const { client } = useServices();
  const part = useCallback(
    ({ cameras, connection, canCommand }: RealTimeData) => ({
      presence: cameras.get(camera)?.presence?.value.status,
      connected: connection.status === "connected",
      allowed: canCommand(camera),
    }),
    [camera],
  );
  const { presence, connected, allowed } = useDashboard(part);
  const [progress, setProgress] = useState<CommandText>();
  const run = useRef(0);

  useEffect(() => {
    if (progress === undefined || progress.tone === "busy") return;
    const timer = setTimeout(() => setProgress(undefined), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [progress]);

  const capture = (): void => {
    const mine = ++run.current;
    const show = (next: CommandText): void => {
      if (mine === run.current) setProgress(next);
    };
    setProgress(captureRequested(presence));
    client
      .command(camera, "capture.now", {}, { onProgress: (step) => show(captureProgress(step)) })
      .then((result) => show(captureProgress(result)))
      .catch((error: unknown) => show(captureFailure(error)));
  };

  return { progress, connected, allowed, capture };
}
