import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import de from "../../../dashboard-client/page/locales/de.json" with { type: "json" };
import compiledGerman from "../../../dashboard-client/page/locales/de.json?all";
import en from "../../../dashboard-client/page/locales/en.json" with { type: "json" };
import compiledEnglish from "../../../dashboard-client/page/locales/en.json?all";
import { FIRST_TEXTS } from "../../../dashboard-client/page/text/first-texts.ts";
import { formatBytes, formatDuration, formatTime } from "../../../dashboard-client/page/text/format.ts";
import {
  currentLocale,
  preferredLanguage,
  setLanguage,
  type Texts,
  t,
} from "../../../dashboard-client/page/text/i18n.ts";

const PAGE = fileURLToPath(new URL("../../../dashboard-client/page/", import.meta.url));

type Tree = { [name: string]: string | Tree };

/** The texts by key, such as `shell.live`. */
function textsOf(tree: Tree, path = ""): Map<string, string> {
  return new Map(
    Object.entries(tree).flatMap(([name, value]) =>
      typeof value === "string" ? [[`${path}${name}`, value] as const] : [...textsOf(value, `${path}${name}.`)],
    ),
  );
}

/** The names of the values that a text uses with this number of things. */
function valuesOf(key: string, texts: Texts, count: number): string[] {
  const names = new Set<string>();
  const values = new Proxy({}, { get: (_target, name) => names.add(String(name)) && count });
  const message = key.split(".").reduce<Texts[string] | undefined>((found, part) => Object(found)[part], texts);
  if (typeof message !== "function") throw new Error(`${key} was not compiled`);
  message(values);
  return [...names].sort();
}

describe("the languages of the page", () => {
  const english = textsOf(en);
  const german = textsOf(de);

  it("have the same texts, and the same values in each text", () => {
    expect([...german.keys()].sort()).toEqual([...english.keys()].sort());
    for (const key of english.keys())
      for (const count of [1, 2])
        expect([key, valuesOf(key, compiledGerman, count)]).toEqual([key, valuesOf(key, compiledEnglish, count)]);
  });

  it.each([
    ["en", english],
    ["de", german],
  ])("have no empty text, and all forms of each text with a number of things: %s", (language, texts) => {
    const { pluralCategories } = new Intl.PluralRules(language).resolvedOptions();
    for (const [key, text] of texts) {
      expect([key, text.trim()]).not.toEqual([key, ""]);
      if (!text.includes(", plural,")) continue;
      for (const form of pluralCategories) expect([key, text]).toEqual([key, expect.stringContaining(` ${form} {`)]);
    }
  });
});

describe("the texts of the first screen", () => {
  /** The files that the first script contains: those that `main.tsx` imports, directly or through others. */
  function filesOfFirstScript(path = `${PAGE}main.tsx`, found = new Map<string, string>()): Map<string, string> {
    if (found.has(path)) return found;
    const code = readFileSync(path, "utf8");
    found.set(path, code);
    for (const [, from = ""] of code.matchAll(/^(?:import|export) (?!type )[^;]*?from "(\..+\.tsx?)";/gm))
      filesOfFirstScript(resolve(path, "..", from), found);
    return found;
  }

  it("are all in the first script", () => {
    const parts = Object.keys(en).join("|");
    // The client and the contract contain names of events, which look like names of texts.
    const used = [...filesOfFirstScript()]
      .filter(([path]) => path.startsWith(PAGE))
      .flatMap(([, code]) => [...code.matchAll(new RegExp(`["\`](${parts})\\.[\\w$]|textOf\\("(${parts})"`, "g"))])
      .map(([, key, group]) => key ?? group);
    expect(used).toContain("shell");
    expect([...new Set(used)].filter((part) => part !== undefined && !FIRST_TEXTS.includes(part))).toEqual([]);
  });
});

it("no component contains a text of its own", () => {
  // A text between tags, or in an attribute that people read or hear. The name of the product is no text.
  const text = />\s*[A-Z][a-z]+(?: [^<>{}]*)?<\/|(?:aria-label|title|alt|placeholder)=\{?["`][A-Z]/;
  const files = readdirSync(PAGE, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".tsx"));
  expect(files.length).toBeGreaterThan(50);
  const found = files.flatMap((path) =>
    readFileSync(`${PAGE}${path}`, "utf8")
      .split("\n")
      .filter((line) => text.test(line) && !line.includes("<span>Skylapse</span>"))
      .map((line) => `${path}: ${line.trim()}`),
  );
  expect(found).toEqual([]);
});

describe("the language of the page", () => {
  afterEach(() => setLanguage("en", []));

  it("is the first language of the browser that the page has", () => {
    expect(preferredLanguage(["fr-CH", "de-CH", "en"])).toBe("de");
    expect(preferredLanguage(["fr-CH"])).toBe("en");
  });

  it("sets texts, numbers and times, by the browser's variant of the language", async () => {
    const now = Date.parse("2026-03-12T13:10:00.000Z");
    await setLanguage("de", ["fr-CH", "de-AT"]);
    expect(currentLocale()).toBe("de-AT");
    await setLanguage("de", []);
    expect(t("shell.cameras", { count: 1 })).toBe("1 Kamera");
    expect(formatBytes(38_200_000_000)).toBe("38,2 GB");
    expect(formatDuration(3 * 86_400_000)).toBe("3 Tage");
    expect(formatTime("2026-03-12T13:09:30.000Z", "Europe/Zurich", now)).toBe("14:09:30 MEZ");
    await setLanguage("en", ["en-US"]);
    expect(formatTime("2026-03-12T13:09:30.000Z", "Europe/Zurich", now)).toMatch(/^02:09:30 PM/);
  });
});
