import { afterEach, describe, expect, it, vi } from "vitest";
import type { AuditEntry } from "../../../bridge/auth/audit-entry.ts";
import { MAX_NETWORKS, MAX_SINGLE_REFUSALS, Refusals, WINDOW_MS } from "../../../bridge/auth/refusals.ts";

const refusal = (address: string): AuditEntry => ({
  ...{ action: "access", who: "unknown", address, target: "GET /users", outcome: "unauthorized" },
});
const recorded: AuditEntry[] = [];
const newRefusals = () => new Refusals((entry) => recorded.push(entry));

afterEach(() => {
  recorded.length = 0;
  vi.useRealTimers();
});

describe("refusals", () => {
  it("are recorded one by one up to a limit for each network, then as a sum", () => {
    vi.useFakeTimers();
    const refusals = newRefusals();
    for (let count = 0; count < MAX_SINGLE_REFUSALS + 1000; count++) refusals.add(refusal("203.0.113.7"));
    refusals.add(refusal("203.0.113.8"));
    expect(recorded).toHaveLength(MAX_SINGLE_REFUSALS + 1);
    vi.advanceTimersByTime(WINDOW_MS);
    expect(recorded.slice(MAX_SINGLE_REFUSALS + 1)).toEqual([
      { action: "access", who: "unknown", address: "203.0.113.7", target: "", outcome: "1000 more refused" },
    ]);
    refusals.add(refusal("203.0.113.7"));
    expect(recorded.at(-1)).toMatchObject({ address: "203.0.113.7", outcome: "unauthorized" });
    refusals.stop();
  });

  it("are added up for all addresses of one IPv6 network", () => {
    const refusals = newRefusals();
    for (let host = 1; host <= 1000; host++) refusals.add(refusal(`2001:db8::${host.toString(16)}`));
    expect(recorded).toHaveLength(MAX_SINGLE_REFUSALS);
    refusals.stop();
    expect(recorded.at(-1)?.outcome).toBe(`${1000 - MAX_SINGLE_REFUSALS} more refused`);
  });

  it("of the oldest network are recorded as a sum at once when there are too many networks", () => {
    const refusals = newRefusals();
    for (let count = 0; count < MAX_SINGLE_REFUSALS + 5; count++) refusals.add(refusal("203.0.113.7"));
    recorded.length = 0;
    for (let count = 0; count < MAX_NETWORKS; count++) refusals.add(refusal(`10.0.${count >> 8}.${count & 255}`));
    expect(recorded.filter(({ outcome }) => outcome === "5 more refused")).toHaveLength(1);
    refusals.stop();
  });
});
