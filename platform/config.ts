import { createHash, createHmac } from "node:crypto";
import { z } from "zod";
import { topicProblem } from "../contract/topics.ts";
import { quoted } from "../contract/visible-text.ts";
import { withoutBom } from "./byte-order-mark.ts";

/** All problems of a program's settings. Each problem begins with the name of the variable. */
export class ConfigurationError extends Error {
  override name = "ConfigurationError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

/** What a setting's schema cannot express. */
interface SettingHints {
  /** A secret may be set by `NAME_FILE`, the path of a file with the secret, and is not shown in error messages. */
  isSecret?: boolean;
  /** Nodes that share a Redis must have the same value. Each node tells the others its value, or a digest of it. */
  mustAgree?: boolean;
  /** The default in words, if the schema has no default or an unclear one. */
  defaultText?: string;
  /** Computes the default from the value of another setting. */
  defaultFrom?: { name: string; value: (other: string) => string };
  /** The unit, if the name of the variable does not end with it. */
  unit?: string;
  /** The allowed values as Markdown. */
  values?: string;
}

interface SettingInfo extends SettingHints {
  /** Markdown for `docs/configuration.md`. */
  description: string;
}

/** Settings by environment variable. */
export type Settings = z.ZodRawShape;
export type ValuesOf<Shape extends Settings> = z.output<z.ZodObject<Shape>>;

const infos = z.registry<SettingInfo>();

export function setting<Schema extends z.ZodType>(description: string, schema: Schema, hints: SettingHints = {}) {
  // One schema may be used for several settings.
  const copy = schema.clone();
  infos.add(copy, { description, ...hints });
  return copy;
}

/** What was passed to {@link setting}. */
export function infoOf(schema: Settings[string]): SettingInfo | undefined {
  return infos.get(schema);
}

/** A default that is a multiple of another setting. The default is no limit if the other setting is no limit. */
export function times(factor: number, name: string, inWords: string): SettingHints {
  return {
    defaultText: `${inWords} \`${name}\``,
    defaultFrom: { name, value: (other) => String(Math.ceil(factor * Number(other))) },
  };
}

/** All variables of the settings, including `NAME_FILE` for secrets. */
export function variablesOf(settings: Settings): string[] {
  return Object.entries(settings).flatMap(([name, schema]) =>
    infoOf(schema)?.isSecret === true ? [name, `${name}_FILE`] : [name],
  );
}

/** A setting that must be the same at all nodes. */
export interface SharedSetting {
  /** The value as other nodes compare it. Of a secret, a digest whose key is the secret. */
  readonly value: string;
  /** Whether logs may show the value. */
  readonly isShown: boolean;
}

/** By environment variable. */
export type SharedSettings = ReadonlyMap<string, SharedSetting>;

/** Longer values are compared by their digests. */
const MAX_SHOWN_CHARS = 200;

/** The settings that must be the same at all nodes. @param values as they are used, by variable */
export function sharedSettings(settings: Settings, values: Readonly<Record<string, unknown>>): SharedSettings {
  const shared = new Map<string, SharedSetting>();
  for (const [name, schema] of Object.entries(settings)) {
    const info = infoOf(schema);
    if (info?.mustAgree !== true) continue;
    const text = textOf(values[name]);
    if (info.isSecret === true && text !== "") {
      const digest = createHmac("sha256", text).update(`${name} of a node`).digest("base64url");
      shared.set(name, { value: digest.slice(0, 16), isShown: false });
    } else if (text.length <= MAX_SHOWN_CHARS) shared.set(name, { value: text, isShown: true });
    else shared.set(name, { value: createHash("sha256").update(text).digest("base64url"), isShown: false });
  }
  return shared;
}

function textOf(value: unknown): string {
  if (value === undefined) return "";
  if (typeof value === "string" || typeof value === "number") return String(value);
  return JSON.stringify(value, (_, part: unknown) => (part instanceof Map ? [...part].sort() : part));
}

export interface EnvironmentSource {
  /** A variable with a blank value is not set. */
  env: Readonly<Record<string, string | undefined>>;
  /** Reads the file of a `NAME_FILE`. @throws the file is unreadable */
  readFile: (path: string) => string;
}

/** @throws {ConfigurationError} every wrong variable, without values of secrets */
export function readEnvironment<Shape extends Settings>(settings: Shape, { env, readFile }: EnvironmentSource) {
  const problems: string[] = [];
  const given: Record<string, string> = {};
  for (const [name, schema] of Object.entries(settings)) {
    const value = plainValue(env[name]);
    const file = infoOf(schema)?.isSecret === true ? env[`${name}_FILE`] : undefined;
    if (value?.trim()) given[name] = value;
    if (!file) continue;
    if (value) problems.push(`${name} and ${name}_FILE are both set: keep one`);
    else {
      try {
        const content = withoutBom(readFile(file)).trim();
        if (content) given[name] = content;
        else problems.push(`${name}_FILE: ${file} is empty`);
      } catch (error) {
        problems.push(`${name}_FILE: cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }
  const result = z.object(settings).safeParse({ ...derivedDefaults(settings, given), ...given });
  for (const issue of result.error?.issues ?? []) {
    const name = String(issue.path[0] ?? "environment");
    const schema = settings[name];
    const info = schema === undefined ? undefined : infoOf(schema);
    const value = given[name];
    // The default comes from another setting. That setting is wrong, and has an issue of its own.
    if (value === undefined && info?.defaultFrom !== undefined) continue;
    const shown = value === undefined || info?.isSecret === true ? "" : `, not ${quoted(withoutPassword(value))}`;
    problems.push(`${name}: ${issue.message}${shown}`);
  }
  if (!result.success || problems.length > 0) throw new ConfigurationError(problems);
  return result.data;
}

/** @throws {ConfigurationError} a setting has no default */
export function defaultsOf<Shape extends Settings>(settings: Shape): ValuesOf<Shape> {
  return readEnvironment(settings, { env: {}, readFile: () => "" });
}

/** The default in the schema of a setting. */
export function defaultOf(schema: Settings[string] | undefined): unknown {
  return schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault ? schema.def.defaultValue : undefined;
}

function derivedDefaults(settings: Settings, given: Readonly<Record<string, string>>): Record<string, string> {
  const derived: Record<string, string> = {};
  for (const [name, schema] of Object.entries(settings)) {
    const defaultFrom = infoOf(schema)?.defaultFrom;
    if (defaultFrom === undefined) continue;
    derived[name] = defaultFrom.value(given[defaultFrom.name] ?? String(defaultOf(settings[defaultFrom.name])));
  }
  return derived;
}

/** Runs several readers of configuration. @throws {ConfigurationError} the problems of all readers, each once */
export function readAll<Configs extends Record<string, unknown>>(
  readers: { [Name in keyof Configs]: () => Configs[Name] },
): Configs {
  const problems = new Set<string>();
  const configs: Partial<Configs> = {};
  for (const name in readers) {
    try {
      configs[name] = readers[name]();
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      for (const problem of error.problems) problems.add(problem);
    }
  }
  if (problems.size > 0 || !isComplete(configs, readers)) throw new ConfigurationError([...problems]);
  return configs;
}

function isComplete<Configs>(configs: Partial<Configs>, readers: Record<keyof Configs, unknown>): configs is Configs {
  return Object.keys(readers).every((name) => name in configs);
}

/** Removes the byte order mark and the carriage returns that Windows programs leave. */
export function plainValue(value: string | undefined): string | undefined {
  return value === undefined ? undefined : withoutBom(value).replace(/\r+$/, "");
}

function withoutPassword(value: string): string {
  return value.replace(/\/\/[^/]*@/, "//…@");
}

const PORT = "must be a port";
const WHOLE = "must be a whole number";

/** A TCP port. Port 0 means any free port. */
export const portVariable = z.coerce.number(PORT).int(PORT).min(0, PORT).max(65_535, PORT);

export const countVariable = z.coerce.number(WHOLE).int(WHOLE).min(0, "must not be negative");

export const positiveVariable = countVariable.min(1, "must be at least 1");

/** A limit: a whole number, where 0 means no limit and reads as `Infinity`. */
export const limitVariable = countVariable.transform((limit) => (limit === 0 ? Number.POSITIVE_INFINITY : limit));

export const hoursVariable = z.coerce.number("must be a number of hours").positive("must be a number of hours above 0");

export const secondsVariable = z.coerce
  .number("must be a number of seconds")
  .min(1, "must be at least 1 second")
  .max(86_400, "must be at most 86400 seconds");

export function limitSetting(byDefault: number, description: string, hints: SettingHints = {}) {
  return setting(description, limitVariable.default(byDefault), hints);
}

export const latitudeVariable = degreesVariable("latitude", 90);
export const longitudeVariable = degreesVariable("longitude", 180);

function degreesVariable(what: string, limit: number) {
  return z.coerce
    .number(`must be the camera's ${what} in degrees`)
    .min(-limit, `must be at least -${limit}`)
    .max(limit, `must be at most ${limit}`);
}

/** A list separated by commas, without the blanks around the parts. */
export const listVariable = z.string().transform((text) =>
  text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== ""),
);

export const topicRootVariable = z.string().superRefine((root, context) => {
  const problem = topicProblem(root) ?? (root.startsWith("$") ? "must not begin with $" : undefined);
  if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
});

export const timeZoneVariable = z.string().refine(isTimeZone, "must be an IANA time zone such as Europe/Zurich");

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
