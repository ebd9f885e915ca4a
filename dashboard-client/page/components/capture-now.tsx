import type { ReactNode } from "react";
import { t } from "../text/i18n.ts";
import { useCapture } from "../use-capture.ts";
import { Icon } from "./icon.tsx";

export function CaptureNow({ camera, name }: { camera: string; name: string }): ReactNode {
  const { progress, connected, allowed, capture } = useCapture(camera);
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
      {(allowed || !connected) && (
        <button
          type="button"
          className="button capture-button"
          data-testid={`capture-now-${camera}`}
          aria-label={t("command.captureWith", { name })}
          disabled={progress?.tone === "busy" || !connected}
          title={connected ? undefined : t("banner.notConnected")}
          onClick={capture}
        >
          <Icon name="aperture" />
          <span>{t("command.capture")}</span>
        </button>
      )}
    </div>
  );
}
