import type english from "../locales/en.json";
import firstEnglish from "../locales/en.json?first";

/** The languages of the page. Each has one file in `locales/`. A test compares the files. */
export const LANGUAGES = { en: "English", de: "Deutsch" } as const;
export type Language = keyof typeof LANGUAGES;

/** The locale of numbers and times, if the browser prefers no locale of the language. */
const LOCALES: Record<Language, string> = { en: "en-GB", de: "de-DE" };

type Values = Record<string, string | number>;
/** Messages by the parts of their names. */
export interface Texts {
  [name: string]: Texts | ((values: Values) => string);
}
type Loader = () => Promise<{ default: Texts }>;

/** The texts of the first screen. The English ones are part of the first script. */
const FIRST: Record<Language, Loader> = {
  en: async () => ({ default: firstEnglish }),
  de: () => import("../locales/de.json?first"),
};
const ALL: Record<Language, Loader> = {
  en: () => import("../locales/en.json?all"),
  de: () => import("../locales/de.json?all"),
};

type Leaves<Tree> = {
  [Name in keyof Tree & string]: Tree[Name] extends string ? Name : `${Name}.${Leaves<Tree[Name]>}`;
}[keyof Tree & string];

/** The name of a text, such as `shell.live`. */
export type TextKey = Leaves<typeof english>;

const loaded: Partial<Record<Language, Texts>> = { en: firstEnglish };
let language: Language = "en";
let needsAll = false;
let locale = LOCALES.en;

/**
 * A text in the language of the page. Components need no hook, because a change of the language mounts the page again.
 * @param values the values of `{name}` in the text
 */
export function t(key: TextKey, values: Values = {}): string {
  return find(key)?.(values) ?? key;
}

/** A text whose key depends on data, such as the name of an event. Undefined if there is no such text. */
export function textOf(group: string, name: string, values: Values = {}): string | undefined {
  // Dots separate the parts of a key.
  return find(`${group}.${name.replaceAll(".", "-")}`)?.(values);
}

function find(key: string): ((values: Values) => string) | undefined {
  let found: Texts[string] | undefined = loaded[language];
  for (const part of key.split("."))
    found = typeof found === "object" && Object.hasOwn(found, part) ? found[part] : undefined;
  return typeof found === "function" ? found : undefined;
}

/** Loads the texts of all places. A place that is loaded later calls it before it is shown. */
export async function loadAllTexts(): Promise<void> {
  needsAll = true;
  await load(language);
}

async function load(next: Language): Promise<void> {
  const isComplete = needsAll;
  const { default: texts } = await (isComplete ? ALL : FIRST)[next]();
  // A place may have been opened meanwhile.
  if (needsAll && !isComplete) await load(next);
  else loaded[next] = texts;
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
