import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { useServices } from "../../services.tsx";
import { t } from "../../text/i18n.ts";
import type { CameraTabProps } from "./camera-tab-props.ts";
import { DeviceSection } from "./manage/device-section.tsx";
import { RecordForm, type RecordTexts, recordKey } from "./manage/record-form.tsx";
import { useCameraControl } from "./use-camera-control.ts";

/** Name, notes, place, secret and removal: `#/cameras/north/manage`, for admins. */
export default function ManageTab({ camera }: CameraTabProps): ReactNode {
  const { api } = useServices();
  const { about, connected } = useCameraControl(camera);
  const shown = useQuery({
    queryKey: recordKey(camera),
    queryFn: async ({ signal }) => recordIn(await api.request(`cameras/${encodeURIComponent(camera)}`, { signal })),
    staleTime: 0,
  });
  const forbidden = connected ? undefined : t("manage.whyNotConnected");
  const { name = camera, location } = about?.value ?? {};
  return (
    <div className="control-tab manage-columns">
      {shown.isError && (
        <p className="form-problem" role="alert">
          {t("common.loadingFailed", { reason: shown.error.message })}
        </p>
      )}
      {shown.isSuccess && (
        <RecordForm
          key={JSON.stringify(shown.data)}
          camera={camera}
          record={shown.data}
          own={{ name, lat: location?.lat, lon: location?.lon }}
          forbidden={forbidden}
        />
      )}
      <DeviceSection camera={camera} name={shown.data?.name || name} forbidden={forbidden} />
    </div>
  );
}

/** The member `record` in the answer of `GET /cameras/{id}`. */
function recordIn(answer: unknown): RecordTexts {
  const { name, notes, location } = membersOf(membersOf(answer).record);
  const { lat, lon } = membersOf(location);
  return { name: textIn(name), notes: textIn(notes), lat: textIn(lat), lon: textIn(lon) };
}

function membersOf(value: unknown): Record<string, unknown> {
  return Object(value) as Record<string, unknown>;
}

function textIn(value: unknown): string {
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
}
