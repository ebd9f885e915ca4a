import { describe, expect, it } from "vitest";
import { z } from "zod";
import {
  ConfigurationError,
  countVariable,
  type EnvironmentSource,
  limitVariable,
  listVariable,
  portVariable,
  readEnvironment,
  setting,
  times,
} from "../../platform/config.ts";

const settings = {
  WS_PORT: portVariable.default(8082),
  MAX_CONNECTIONS: limitVariable.default(20_000),
  RETENTION_HOURS: countVariable.default(24),
  ALLOWED_ORIGINS: listVariable.default([]),
  JWT_SECRET: setting("signs", z.string().min(32, "must have at least 32 characters").optional(), { isSecret: true }),
  MAX_WAITING: setting("half", limitVariable, times(0.5, "MAX_CONNECTIONS", "half of")),
};

function read(env: EnvironmentSource["env"], files: Record<string, string> = {}) {
  const readFile = (path: string) => {
    const content = files[path];
    if (content === undefined) throw new Error("no such file");
    return content;
  };
  return readEnvironment(settings, { env, readFile });
}

function problemsOf(env: EnvironmentSource["env"], files?: Record<string, string>): readonly string[] {
  try {
    read(env, files);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
}

describe("the environment", () => {
  it("uses the default for a variable that is not set or is empty", () => {
    expect(read({ WS_PORT: "" })).toEqual({
      WS_PORT: 8082,
      MAX_CONNECTIONS: 20_000,
      RETENTION_HOURS: 24,
      ALLOWED_ORIGINS: [],
      MAX_WAITING: 10_000,
    });
  });

  it("computes a default from another setting, unless the setting itself is set", () => {
    expect(read({ MAX_CONNECTIONS: "7" }).MAX_WAITING).toBe(4);
    expect(read({ MAX_CONNECTIONS: "0" }).MAX_WAITING).toBe(Number.POSITIVE_INFINITY);
    expect(read({ MAX_CONNECTIONS: "7", MAX_WAITING: "9" }).MAX_WAITING).toBe(9);
    expect(problemsOf({ MAX_CONNECTIONS: "many" })).toEqual(['MAX_CONNECTIONS: must be a whole number, not "many"']);
  });

  it("is parsed by type, with 0 as no limit", () => {
    expect(
      read({ WS_PORT: "0", MAX_CONNECTIONS: "0", ALLOWED_ORIGINS: "https://a.example, https://b.example," }),
    ).toMatchObject({
      WS_PORT: 0,
      MAX_CONNECTIONS: Number.POSITIVE_INFINITY,
      ALLOWED_ORIGINS: ["https://a.example", "https://b.example"],
    });
  });

  it("reports all problems at once, each with its variable and value", () => {
    expect(problemsOf({ WS_PORT: "eighty", RETENTION_HOURS: "-1", MAX_CONNECTIONS: "1.5" })).toEqual([
      'WS_PORT: must be a port, not "eighty"',
      'MAX_CONNECTIONS: must be a whole number, not "1.5"',
      'RETENTION_HOURS: must not be negative, not "-1"',
    ]);
  });

  it("never includes a secret in a problem", () => {
    expect(problemsOf({ JWT_SECRET: "hunter2" })).toEqual(["JWT_SECRET: must have at least 32 characters"]);
  });

  it("reads a secret from a file, without the last newline", () => {
    expect(read({ JWT_SECRET_FILE: "/run/jwt" }, { "/run/jwt": `${"s".repeat(32)}\n` }).JWT_SECRET).toBe(
      "s".repeat(32),
    );
  });

  it("rejects a secret that is set twice, or in an unreadable file", () => {
    expect(problemsOf({ JWT_SECRET: "s".repeat(32), JWT_SECRET_FILE: "/run/jwt" })).toEqual([
      "JWT_SECRET and JWT_SECRET_FILE are both set: keep one",
    ]);
    expect(problemsOf({ JWT_SECRET_FILE: "/run/jwt" })).toEqual([
      "JWT_SECRET_FILE: cannot read /run/jwt: no such file",
    ]);
  });
});
