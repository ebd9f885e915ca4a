import { afterEach, describe, expect, it, vi } from "vitest";
import type { AuditEntry } from "../../../bridge/auth/audit-entry.ts";
import { MAX_NETWORKS, MAX_SINGLE_REFUSALS, Refusals, WINDOW_MS } from "../../../bridge/auth/refusals.ts";

const refusal = (address: string): AuditEntry => ({
  ...{ action: "access", who: "unknown", address, target: "GET /users", outcome: "unauthorized" },
});
const told: AuditEntry[] = [];
const refusals = () => new Refusals((entry) => told.push(entry));

afterEach(() => {
  told.length = 0;
  vi.useRealTimers();
});

describe("refusals", () => {
  it("are told of one by one, until one network has too many: then how many there were", () => {
    vi.useFakeTimers();
    const some = refusals();
    for (let count = 0; count < MAX_SINGLE_REFUSALS + 1000; count++) some.add(refusal("203.0.113.7"));
    some.add(refusal("203.0.113.8"));
    expect(told).toHaveLength(MAX_SINGLE_REFUSALS + 1);
    vi.advanceTimersByTime(WINDOW_MS);
    expect(told.slice(MAX_SINGLE_REFUSALS + 1)).toEqual([
      { action: "access", who: "unknown", address: "203.0.113.7", target: "", outcome: "1000 more refused" },
    ]);
    some.add(refusal("203.0.113.7"));
    expect(told.at(-1)).toMatchObject({ address: "203.0.113.7", outcome: "unauthorized" });
    some.stop();
  });

  it("of the addresses of one IPv6 network are those of one", () => {
    const some = refusals();
    for (let host = 1; host <= 1000; host++) some.add(refusal(`2001:db8::${host.toString(16)}`));
    expect(told).toHaveLength(MAX_SINGLE_REFUSALS);
    some.stop();
    expect(told.at(-1)?.outcome).toBe(`${1000 - MAX_SINGLE_REFUSALS} more refused`);
  });

  it("of ever more networks are not all remembered: the first are told of early", () => {
    const some = refusals();
    for (let count = 0; count < MAX_SINGLE_REFUSALS + 5; count++) some.add(refusal("203.0.113.7"));
    told.length = 0;
    for (let count = 0; count < MAX_NETWORKS; count++) some.add(refusal(`10.0.${count >> 8}.${count & 255}`));
    expect(told.filter(({ outcome }) => outcome === "5 more refused")).toHaveLength(1);
    some.stop();
  });
});
