import { describe, expect, it } from "vitest";
import { afterClose, CloseCode } from "../../contract/codes.ts";
import { commandArgs, scheduleSchema } from "../../contract/commands.ts";
import { clientMessageSchema, serverMessageSchema } from "../../contract/socket-messages.ts";

describe("messages of a client", () => {
  it.each([
    [{ type: "auth", token: "t" }],
    [{ type: "subscribe", channel: "dashboard" }],
    [{ type: "subscribe", channel: "dashboard", since: { epoch: "k3Qz", position: 118 }, id: 3 }],
    [{ type: "unsubscribe", channel: "dashboard", id: "a" }],
    [{ type: "command", id: 7, camera: "north", name: "capture.now", args: {}, expires_in: 30 }],
    [{ type: "pong" }],
  ])("%j is valid", (message) => {
    expect(clientMessageSchema.parse(message)).toEqual(message);
  });

  it("may omit the arguments and the expiry of a command", () => {
    expect(clientMessageSchema.parse({ type: "command", camera: "north", name: "reboot" })).toMatchObject({
      args: {},
      expires_in: 30,
    });
  });

  it.each([
    [{ type: "shout" }],
    [{ type: "subscribe" }],
    [{ type: "subscribe", channel: ["dashboard"] }],
    [{ type: "subscribe", channel: "dashboard", since: { position: 1 } }],
    [{ type: "subscribe", channel: "dashboard", since: { epoch: "a", position: -1 } }],
    [{ type: "command", camera: "north/#", name: "reboot" }],
    [{ type: "command", camera: "__proto__", name: "reboot" }],
    [{ type: "command", camera: "north", name: "+" }],
    [{ type: "command", camera: "north", name: "reboot", expires_in: 1e9 }],
    [[]],
    [null],
  ])("%j is rejected", (message) => {
    expect(clientMessageSchema.safeParse(message).success).toBe(false);
  });
});

describe("messages of the server", () => {
  it.each([
    [{ type: "auth_success", connection_id: "u", user_id: "o", permissions: [], expires_in: 900, ping_interval: 25 }],
    [{ type: "auth_error", error: "Invalid token", code: 4002 }],
    [
      {
        type: "subscription_result",
        channel: "dashboard",
        success: true,
        epoch: "k3Qz",
        position: 131,
        recovered: false,
        reason: "trimmed",
        gap: { after: 118, before: 402 },
      },
    ],
    [
      {
        type: "dashboard_event",
        event: "system.status",
        data: {},
        timestamp: "2026-03-01T06:30:00Z",
        channel: "dashboard",
        position: 119,
      },
    ],
    [{ type: "command_result", id: 7, command_id: "01J", status: "succeeded", result: {} }],
  ])("%j has the documented form", (message) => {
    expect(serverMessageSchema.parse(message)).toEqual(message);
  });
});

describe("close codes", () => {
  it("are in ranges, such as 4200 to 4299, that say how a client must react", () => {
    const actions = Object.fromEntries(Object.entries(CloseCode).map(([name, code]) => [name, afterClose(code)]));
    expect(actions).toEqual({
      authTimeout: "stop",
      authInvalid: "stop",
      protocolError: "stop",
      connectionLimit: "stop",
      revoked: "stop",
      tokenExpired: "renew",
      shutdown: "retry",
      internal: "retry",
      connectRate: "retry",
      slow: "retry",
      noPong: "retry",
    });
    expect(afterClose(1006)).toBe("retry");
  });
});

describe("command arguments", () => {
  it("are validated by the schema of the command", () => {
    expect(commandArgs["capture.now"].safeParse({ flash: true }).success).toBe(false);
    expect(commandArgs["settings.set"].safeParse({ iso: 400 }).success).toBe(true);
    expect(commandArgs["settings.set"].safeParse({}).success).toBe(false);
    expect(commandArgs["settings.set"].safeParse({ iso: "high" }).success).toBe(false);
  });

  it("reset a setting with null or auto, except the white balance, whose auto is a separate value", () => {
    const given = { exposure_s: null, iso: "auto", quality: "auto", hdr: "auto", white_balance: "auto" };
    expect(commandArgs["settings.set"].parse(given)).toEqual({
      ...{ exposure_s: null, iso: null, quality: null, hdr: null },
      white_balance: "auto",
    });
    expect(commandArgs["settings.set"].safeParse({ white_balance: null }).success).toBe(true);
  });

  it("report an unknown field, and suggest a similar field", () => {
    const problem = commandArgs["settings.set"].safeParse({ iso: 100, exposure: 3 }).error;
    expect(problem?.issues[0]?.message).toBe('"exposure" is not known here (did you mean "exposure_s"?)');
    const entry = { kind: "clock", start: "06:00", end: "07:00", interval_s: 30, dayz: [1] };
    const [issue] = commandArgs["schedule.set"].safeParse({ entries: [entry] }).error?.issues ?? [];
    expect(issue).toMatchObject({
      ...{ path: ["entries", 0], message: '"dayz" is not known here (did you mean "days"?)' },
    });
  });

  it.each([
    [{ kind: "clock", start: "25:00", end: "07:00", interval_s: 30 }],
    [{ kind: "clock", start: "06:00", end: "07:00", days: [0], interval_s: 30 }],
    [{ kind: "solar", anchor: "noon", offset_min: 0, duration_min: 30, interval_s: 30 }],
    [{ kind: "solar", anchor: "sunset", offset_min: 0, duration_min: 30, interval_s: 0 }],
  ])("a schedule with %j is rejected", (entry) => {
    expect(scheduleSchema.safeParse({ entries: [entry] }).success).toBe(false);
  });
});
