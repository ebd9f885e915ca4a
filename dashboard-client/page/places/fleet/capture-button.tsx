import type { ReactNode } from "react";
import { Icon } from "../../components/icon.tsx";
import { t } from "../../text/i18n.ts";
import { useCapture } from "../../use-capture.ts";
import type { FleetCamera } from "./use-fleet-camera.ts";

/** Takes a picture now. While the command must fail, the button is off and says why. */
export function CaptureButton({ camera }: { camera: FleetCamera }): ReactNode {
  const { progress, connected, allowed, capture } = useCapture(camera.id);
  if (!allowed && connected) return null;
  const refusal = whyNot(camera, connected);
  const title = refusal ?? t("command.captureWith", { name: camera.name });
  return (
    <>
      <output className="fleet-outcome" data-testid={`command-status-${camera.id}`} data-tone={progress?.tone}>
        {progress?.text}
      </output>
      <button
        type="button"
        className="icon-button fleet-capture"
        data-testid={`capture-now-${camera.id}`}
        aria-label={t("command.captureWith", { name: camera.name })}
        aria-description={refusal}
        title={title}
        disabled={refusal !== undefined || progress?.tone === "busy"}
        onClick={capture}
      >
        <Icon name="aperture" />
      </button>
    </>
  );
}

function whyNot({ state }: FleetCamera, connected: boolean): string | undefined {
  if (!connected) return t("fleet.notConnected");
  if (state === "offline" || state === "overslept") return t("fleet.cameraOffline");
  return state === "never_seen" ? t("fleet.cameraNeverSeen") : undefined;
}
