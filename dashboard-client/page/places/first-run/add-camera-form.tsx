import { useMutation } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useState } from "react";
import { checked, list, number, object, optional, text, whole } from "../../../../contract/guards.ts";
import type { ApiClient } from "../../api/api-client.ts";
import { useServices } from "../../services.tsx";
import { t } from "../../text/i18n.ts";
import { Choice } from "../../ui/choice.tsx";
import { TextField } from "../../ui/text-field.tsx";
import type { AddedCamera } from "./camera-instructions.tsx";
import { brokerUrl, type MqttAddress, type NewCamera } from "./camera-settings.ts";

const DRIVERS = ["rpicam", "gphoto2", "folder", "simulated"] as const;
type Driver = (typeof DRIVERS)[number];
const MAX_DEVICES = 100_000;

const isRegistered = object<{ secret: string }>({ secret: text() });
const isDevices = object<{ devices: unknown[]; mqtt?: MqttAddress }>({
  devices: list((_value): _value is unknown => true, MAX_DEVICES),
  mqtt: optional(object<MqttAddress>({ protocol: text(), host: optional(text()), port: whole(0, 65_535) })),
});
const isLatitude = number(-90, 90);
const isLongitude = number(-180, 180);

interface AddCameraFormProps {
  /** Why no camera can be added; undefined: it can. */
  disabledBecause: string | undefined;
  onAdded: (camera: AddedCamera) => void;
}

/** Registers a camera. */
export function AddCameraForm({ disabledBecause, onAdded }: AddCameraFormProps): ReactNode {
  const { api } = useServices();
  const [driver, setDriver] = useState<Driver>("rpicam");
  const [place, setPlace] = useState({ latitude: "", longitude: "" });
  const adding = useMutation({
    mutationFn: (camera: Omit<NewCamera, "secret">) => register(api, camera),
    onSuccess: onAdded,
  });

  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    adding.mutate({
      ...{ id: String(form.get("id")), driver, timeZone: String(form.get("zone")) },
      ...{ latitude: Number(place.latitude), longitude: Number(place.longitude) },
    });
  };
  const locate = (): void =>
    navigator.geolocation.getCurrentPosition(({ coords }) =>
      setPlace({ latitude: coords.latitude.toFixed(4), longitude: coords.longitude.toFixed(4) }),
    );

  return (
    <form className="panel form first-run-form" onSubmit={submit}>
      <p>{t("firstRun.cameraIntro")}</p>
      <div className="form-row">
        <TextField
          label={t("firstRun.id")}
          hint={t("firstRun.idHint")}
          name="id"
          pattern="[a-z0-9][a-z0-9\-]{0,62}"
          autoCapitalize="none"
          spellCheck={false}
          required
        />
        <Choice
          label={t("firstRun.driver")}
          value={driver}
          options={DRIVERS.map((each): [Driver, string] => [each, t(`firstRun.drivers.${each}`)])}
          onChange={setDriver}
        />
      </div>
      <div className="form-row">
        <TextField
          label={t("firstRun.latitude")}
          type="number"
          min={-90}
          max={90}
          step="any"
          required
          value={place.latitude}
          onChange={({ target }) => setPlace({ ...place, latitude: target.value })}
        />
        <TextField
          label={t("firstRun.longitude")}
          type="number"
          min={-180}
          max={180}
          step="any"
          required
          value={place.longitude}
          onChange={({ target }) => setPlace({ ...place, longitude: target.value })}
        />
        <TextField
          label={t("firstRun.zone")}
          name="zone"
          required
          defaultValue={Intl.DateTimeFormat().resolvedOptions().timeZone}
        />
      </div>
      {adding.error !== null && (
        <p className="form-problem" role="alert">
          {adding.error.message}
        </p>
      )}
      {disabledBecause !== undefined && <p className="field-note">{disabledBecause}</p>}
      <div className="dialog-actions">
        {"geolocation" in navigator && (
          <button type="button" className="button" onClick={locate}>
            {t("firstRun.locate")}
          </button>
        )}
        <button type="submit" className="button primary" disabled={adding.isPending || disabledBecause !== undefined}>
          {t("firstRun.add")}
        </button>
      </div>
    </form>
  );
}

async function register(api: ApiClient, camera: Omit<NewCamera, "secret">): Promise<AddedCamera> {
  if (!isLatitude(camera.latitude) || !isLongitude(camera.longitude)) throw new Error(t("firstRun.wrongPlace"));
  const { mqtt } = checked(isDevices, await api.request("devices"));
  const body = { id: camera.id, kind: "camera" };
  const { secret } = checked(isRegistered, await api.request("devices", { method: "POST", body }));
  const broker = mqtt === undefined ? undefined : brokerUrl(mqtt, location.hostname);
  return { camera: { ...camera, secret }, broker: broker ?? `mqtt://${location.hostname}:1883` };
}
