import { type ReactNode, useState } from "react";
import type { ChannelGrants } from "../../../../contract/permissions.ts";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { t } from "../../text/i18n.ts";
import { useDashboard } from "../../use-dashboard.ts";
import { AddCameraForm } from "./add-camera-form.tsx";
import { type AddedCamera, CameraInstructions } from "./camera-instructions.tsx";
import { ProxyProblems } from "./proxy-problems.tsx";

const isAdmin = ({ grants }: { grants: ChannelGrants }): boolean => grants.admin;

/** Guides an admin to a camera that is connected. */
export default function FirstRunPlace(): ReactNode {
  usePlaceTitle(t("firstRun.cameraTitle"));
  const admin = useDashboard(isAdmin);
  const [added, setAdded] = useState<AddedCamera>();
  return (
    <div className="place first-run">
      <h1>{t("firstRun.cameraTitle")}</h1>
      <ProxyProblems />
      {added === undefined ? (
        <AddCameraForm disabledBecause={admin ? undefined : t("firstRun.needsAdmin")} onAdded={setAdded} />
      ) : (
        <CameraInstructions added={added} onAnother={() => setAdded(undefined)} />
      )}
    </div>
  );
}
