import i18next from "i18next";
import firstEnglish from "../locales/en.json?first";

/** The languages of the page. Each has one file in `locales/`. A test compares the files. */
export const LANGUAGES = { en: "English", de: "Deutsch" } as const;
export type Language = keyof typeof LANGUAGES;

/** The locale of numbers and times, if the browser prefers no locale of the language. */
const LOCALES: Record<Language, string> = { en: "en-GB", de: "de-DE" };

type Texts = () => Promise<{ default: object }>;

/** The texts of the first screen. The English ones are part of the first script. */
const FIRST: Record<Language, Texts> = {
  en: async () => ({ default: firstEnglish }),
  de: () => import("../locales/de.json?first"),
};
const ALL = {
  en: () => import("../locales/en.json", { with: { type: "json" } }),
  de: () => import("../locales/de.json", { with: { type: "json" } }),
} satisfies Record<Language, Texts>;

type Leaves<Tree> = {
  [Name in keyof Tree & string]: Tree[Name] extends string ? Name : `${Name}.${Leaves<Tree[Name]>}`;
}[keyof Tree & string];
type English = Awaited<ReturnType<typeof ALL.en>>["default"];
type WithoutPlural<Name extends string> = Name extends `${infer Stem}_${"one" | "other"}` ? Stem : Name;

/** The name of a text, such as `shell.live`. A text with the forms `…_one` and `…_other` needs the value `count`. */
export type TextKey = WithoutPlural<Leaves<English>>;

let language: Language = "en";
let needsAll = false;
let locale = LOCALES.en;

void i18next.init({
  lng: "en",
  fallbackLng: "en",
  initAsync: false,
  resources: { en: { translation: firstEnglish } },
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

/** Loads the texts of all places. A place that is loaded later calls it before it is shown. */
export async function loadAllTexts(): Promise<void> {
  needsAll = true;
  await load(language);
}

async function load(next: Language): Promise<void> {
  const { default: texts } = await (needsAll ? ALL : FIRST)[next]();
  i18next.addResourceBundle(next, "translation", texts);
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
  await load(next);
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
