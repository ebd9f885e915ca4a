import i18next from "i18next";
import en from "../locales/en.json" with { type: "json" };

/** The languages of the page. Each has one file in `locales/`. A test compares the files. */
export const LANGUAGES = { en: "English", de: "Deutsch" } as const;
export type Language = keyof typeof LANGUAGES;

/** The locale of numbers and times, if the browser prefers no locale of the language. */
const LOCALES: Record<Language, string> = { en: "en-GB", de: "de-DE" };

/** English is part of the first script, the other languages are loaded when they are chosen. */
const LOADERS: Record<Exclude<Language, "en">, () => Promise<{ default: unknown }>> = {
  de: () => import("../locales/de.json", { with: { type: "json" } }),
};

type Leaves<Tree> = {
  [Name in keyof Tree & string]: Tree[Name] extends string ? Name : `${Name}.${Leaves<Tree[Name]>}`;
}[keyof Tree & string];
type WithoutPlural<Name extends string> = Name extends `${infer Stem}_${"one" | "other"}` ? Stem : Name;

/** The name of a text, such as `shell.live`. A text with the forms `…_one` and `…_other` needs the value `count`. */
export type TextKey = WithoutPlural<Leaves<typeof en>>;

let language: Language = "en";
let locale = LOCALES.en;

void i18next.init({
  lng: "en",
  fallbackLng: "en",
  initAsync: false,
  resources: { en: { translation: en } },
  // React escapes all texts.
  interpolation: { escapeValue: false },
});

/**
 * A text in the language of the page. Components need no hook, because a change of the language mounts the page again.
 * @param values the values of `{{name}}` in the text
 */
export function t(key: TextKey, values: Record<string, string | number> = {}): string {
  return i18next.t(key, values);
}

/** A text whose key depends on data, such as the name of an event. Undefined if there is no such text. */
export function textOf(group: string, name: string, values: Record<string, string | number> = {}): string | undefined {
  // i18next separates the parts of a key by dots.
  const key = `${group}.${name.replaceAll(".", "-")}`;
  return i18next.exists(key) ? i18next.t(key, values) : undefined;
}

export function currentLanguage(): Language {
  return language;
}

/** The locale of numbers and times, such as `en-GB`. */
export function currentLocale(): string {
  return locale;
}

/** Loads the texts of a language, and uses them from now on. The caller mounts the page again. */
export async function setLanguage(next: Language, preferred: readonly string[] = browserLanguages()): Promise<void> {
  if (next !== "en" && !i18next.hasResourceBundle(next, "translation")) {
    const { default: texts } = await LOADERS[next]();
    i18next.addResourceBundle(next, "translation", texts);
  }
  await i18next.changeLanguage(next);
  language = next;
  locale = preferred.find((each) => each === next || each.startsWith(`${next}-`)) ?? LOCALES[next];
}

/** The first language of the browser that the page has, otherwise English. */
export function preferredLanguage(preferred: readonly string[] = browserLanguages()): Language {
  for (const each of preferred) {
    const found = each.split("-")[0]?.toLowerCase();
    if (found !== undefined && found in LANGUAGES) return found as Language;
  }
  return "en";
}

function browserLanguages(): readonly string[] {
  return typeof navigator === "undefined" ? [] : (navigator.languages ?? []);
}
