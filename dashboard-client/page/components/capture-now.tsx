import { type ReactNode, useEffect, useRef, useState } from "react";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { type CommandText, captureFailure, captureProgress, captureRequested } from "../text/command-status.ts";
import { Icon } from "./icon.tsx";

/** How long an outcome is shown, milliseconds. */
const SHOWN_MS = 12_000;

export function CaptureNow({ camera, name, data }: { camera: string; name: string; data: RealTimeData }): ReactNode {
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
    setProgress(captureRequested(data.cameras.get(camera)?.presence?.value.status));
    data
      .command(camera, "capture.now", {}, { onProgress: (step) => show(captureProgress(step)) })
      .then((result) => show(captureProgress(result)))
      .catch((error: unknown) => show(captureFailure(error)));
  };

  const busy = progress?.tone === "busy";
  const offline = data.connection.status !== "connected";
  const allowed = data.canCommand(camera);
  return (
    <div className="capture">
      <output
        className="capture-status"
        data-testid={`command-status-${camera}`}
        data-tone={progress?.tone}
        aria-live="polite"
      >
        {progress?.text}
      </output>
      {(allowed || offline) && (
        <button
          type="button"
          className="button capture-button"
          data-testid={`capture-now-${camera}`}
          aria-label={`Capture now with ${name}`}
          disabled={busy || offline}
          title={offline ? "Not connected" : undefined}
          onClick={capture}
        >
          <Icon name="aperture" />
          <span>Capture now</span>
        </button>
      )}
    </div>
  );
}
