import type { ReactNode } from "react";
import { PREFERENCE_CHOICES, setPreference, usePreferences } from "../preferences.ts";
import { LANGUAGES, type TextKey, t } from "../text/i18n.ts";
import { Choice } from "../ui/choice.tsx";
import { Dialog } from "../ui/dialog.tsx";
import { useVisiblePlaces } from "./navigation.tsx";

const THEMES = { auto: "preferences.auto", light: "preferences.light", dark: "preferences.dark" } as const;
const CLOCKS = { viewer: "preferences.viewer", camera: "preferences.cameraZone", utc: "preferences.utc" } as const;

function named<Value extends string>(values: readonly Value[], names: Record<Value, TextKey>): [Value, string][] {
  return values.map((value) => [value, t(names[value])]);
}

/** Language, colours and clock of this browser, and the keyboard shortcuts. */
export default function PreferencesDialog({ onClose }: { onClose: () => void }): ReactNode {
  const { language, theme, clock } = usePreferences();
  const places = useVisiblePlaces();
  const languages = PREFERENCE_CHOICES.language.map((each): [typeof each, string] => [
    each,
    each === "auto" ? t("preferences.auto") : LANGUAGES[each],
  ]);
  return (
    <Dialog title={t("shell.preferences")} onClose={onClose}>
      <Choice
        label={t("preferences.language")}
        value={language}
        options={languages}
        onChange={(value) => setPreference("language", value)}
      />
      <Choice
        label={t("preferences.theme")}
        value={theme}
        options={named(PREFERENCE_CHOICES.theme, THEMES)}
        onChange={(value) => setPreference("theme", value)}
      />
      <Choice
        label={t("preferences.clock")}
        value={clock}
        options={named(PREFERENCE_CHOICES.clock, CLOCKS)}
        onChange={(value) => setPreference("clock", value)}
      />
      <h3>{t("preferences.shortcuts")}</h3>
      <dl className="shortcuts">
        {places.map(({ name, key }) => (
          <div key={name}>
            <dt>
              <kbd>g</kbd> <kbd>{key}</kbd>
            </dt>
            <dd>{t("preferences.shortcutGo", { place: t(`place.${name}`) })}</dd>
          </div>
        ))}
        <div>
          <dt>
            <kbd>?</kbd>
          </dt>
          <dd>{t("preferences.shortcutHelp")}</dd>
        </div>
      </dl>
    </Dialog>
  );
}
