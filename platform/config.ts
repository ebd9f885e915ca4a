import { z } from "zod";
import { quoted } from "../contract/visible-text.ts";
import { withoutBom } from "./byte-order-mark.ts";

/** All problems of a program's environment at once. Each begins with the variable's name. */
export class ConfigurationError extends Error {
  override name = "ConfigurationError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

export interface EnvironmentSource {
  /** Such as `process.env`. A blank value counts as not set. */
  env: Readonly<Record<string, string | undefined>>;
  /** Reads the file that `NAME_FILE` names; throws if it is unreadable. */
  readFile: (path: string) => string;
  /** Variables that may be given as `NAME_FILE`, the path of a file with the value (container secrets). */
  secrets?: readonly string[];
}

/**
 * Reads the variables that are the keys of `schema`.
 * @throws {ConfigurationError} naming every variable that is wrong, never a secret's value
 */
export function readEnvironment<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  { env, readFile, secrets = [] }: EnvironmentSource,
): z.output<z.ZodObject<Shape>> {
  const problems: string[] = [];
  const given: Record<string, string> = {};
  for (const name of Object.keys(schema.shape)) {
    const value = plainValue(env[name]);
    const file = secrets.includes(name) ? env[`${name}_FILE`] : undefined;
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
  const result = schema.safeParse(given);
  for (const issue of result.error?.issues ?? []) {
    const name = String(issue.path[0] ?? "environment");
    const shown =
      secrets.includes(name) || given[name] === undefined ? "" : `, not ${quoted(withoutPassword(given[name]))}`;
    problems.push(`${name}: ${issue.message}${shown}`);
  }
  if (!result.success || problems.length > 0) throw new ConfigurationError(problems);
  return result.data;
}

/** Removes a byte order mark and trailing carriage returns, which Windows shells and files with CR line ends leave. */
export function plainValue(value: string | undefined): string | undefined {
  return value === undefined ? undefined : withoutBom(value).replace(/\r+$/, "");
}

/** Replaces user and password of a URL by an ellipsis. */
function withoutPassword(value: string): string {
  return value.replace(/\/\/[^/]*@/, "//…@");
}

/** A TCP port; 0 takes a free one. */
export const portVariable = z.coerce
  .number("must be a port")
  .int("must be a port")
  .min(0, "must be a port")
  .max(65_535, "must be a port");

/** A whole number of something, from 0. */
export const countVariable = z.coerce
  .number("must be a whole number")
  .int("must be a whole number")
  .min(0, "must not be negative");

/** A limit named `MAX_…`: a whole number, where 0 means no limit and reads as `Infinity`. */
export const limitVariable = countVariable.transform((limit) => (limit === 0 ? Number.POSITIVE_INFINITY : limit));

/** A list separated by commas. Blanks around the parts are ignored. */
export const listVariable = z.string().transform((text) =>
  text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== ""),
);
