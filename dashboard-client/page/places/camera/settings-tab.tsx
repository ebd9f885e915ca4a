import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useId, useState } from "react";
import type { WantedSettings } from "../../../../contract/commands.ts";
import type { AdjustableSettings } from "../../../../contract/events.ts";
import { useServices } from "../../services.tsx";
import { t } from "../../text/i18n.ts";
import type { CameraTabProps } from "./camera-tab-props.ts";
import { DesiredStatus } from "./desired-status.tsx";
import { SaveRow } from "./save-row.tsx";
import {
  fieldText,
  isFieldRight,
  PLAIN_SETTINGS,
  SETTING_NAMES,
  type SettingName,
  settingOf,
  settingText,
} from "./settings/choices.ts";
import { SettingField } from "./settings/setting-field.tsx";
import { useCameraControl, whyNot } from "./use-camera-control.ts";

type Texts = Record<SettingName, string>;

/** Exposure, quality and so on: `#/cameras/north/settings`. */
export default function SettingsTab({ camera }: CameraTabProps): ReactNode {
  const { api } = useServices();
  const control = useCameraControl(camera);
  const { settings, desired, about, lastCapture, presence } = control;
  const capabilities = about?.value.capabilities;
  const adjustable = capabilities?.settings ?? PLAIN_SETTINGS;
  const offered = SETTING_NAMES.filter((name) => adjustable[name] !== undefined);
  const base: Texts = textsOf({ ...settings?.value, ...desired?.settings?.value });
  const [changes, setChanges] = useState<Partial<Texts>>({});
  const texts = { ...base, ...changes };
  const changed = offered.filter((name) => !Object.is(settingOf(name, texts[name]), settingOf(name, base[name])));
  const save = useMutation({
    mutationFn: () =>
      api.request(`cameras/${encodeURIComponent(camera)}/settings`, { method: "PUT", body: bodyOf(offered, texts) }),
  });
  // What was saved has arrived as the desired state: from now on, the form shows what others change.
  if (save.isSuccess && changed.length === 0 && Object.keys(changes).length > 0) setChanges({});
  const whyId = useId();
  const forbidden = whyNot(control, "settings.set");
  const why =
    forbidden ??
    (offered.every((name) => isFieldRight(name, texts[name], adjustable))
      ? changed.length > 0
        ? undefined
        : t("manage.whyUnchanged")
      : t("manage.whyWrong"));
  return (
    <div className="control-tab narrow">
      <DesiredStatus part={desired?.settings} presence={presence?.value.status} zone={about?.value.location.timezone}>
        <Differences
          desired={textsOf(desired?.settings?.value ?? {})}
          applied={textsOf(settings?.value ?? {})}
          adjustable={adjustable}
        />
      </DesiredStatus>
      {capabilities === undefined && <p className="panel notice">{t("settings.plain")}</p>}
      {offered.length === 0 ? (
        <p className="panel notice">{t("settings.none")}</p>
      ) : (
        <form
          className="panel form settings-form"
          onSubmit={(event) => {
            event.preventDefault();
            save.mutate();
          }}
        >
          <fieldset className="form-row bare" disabled={forbidden !== undefined}>
            {offered.map((name) => (
              <SettingField
                key={name}
                name={name}
                adjustable={adjustable}
                text={texts[name]}
                used={lastCapture?.value.settings?.[name]}
                onChange={(text) => setChanges({ ...changes, [name]: text })}
              />
            ))}
          </fieldset>
          <SaveRow
            action={t("settings.save")}
            save={save}
            why={why}
            whyId={whyId}
            onDiscard={changed.length > 0 ? () => setChanges({}) : undefined}
          />
        </form>
      )}
    </div>
  );
}

function textsOf(values: WantedSettings): Texts {
  return Object.fromEntries(SETTING_NAMES.map((name) => [name, fieldText(name, values[name])])) as Texts;
}

function bodyOf(offered: readonly SettingName[], texts: Texts): Record<string, unknown> {
  return Object.fromEntries(offered.map((name) => [name, settingOf(name, texts[name])]));
}

interface DifferencesProps {
  desired: Texts;
  applied: Texts;
  adjustable: AdjustableSettings;
}

/** The settings in which the camera differs, with both values. */
function Differences({ desired, applied, adjustable }: DifferencesProps): ReactNode {
  const names = SETTING_NAMES.filter((name) => adjustable[name] !== undefined && desired[name] !== applied[name]);
  return (
    <ul className="plain-rows" data-testid="setting-differences">
      {names.map((name) => (
        <li key={name}>
          {t("settings.difference", {
            setting: t(`settings.${name}`),
            desired: shown(name, desired[name]),
            applied: shown(name, applied[name]),
          })}
        </li>
      ))}
    </ul>
  );
}

function shown(name: SettingName, text: string): string {
  const value = settingOf(name, text);
  return value === null ? t("settings.automatic") : settingText(name, value);
}
