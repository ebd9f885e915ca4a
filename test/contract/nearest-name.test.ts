import { describe, expect, it } from "vitest";
import { didYouMean, nearestName } from "../../contract/nearest-name.ts";

describe("the nearest name", () => {
  it.each([
    ["dayz", ["days", "start", "end"], "days"],
    ["MAX_CONNECTION_PER_USER", ["MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_USER"], "MAX_CONNECTIONS_PER_USER"],
    ["ISO", ["iso", "hdr"], "iso"],
    ["interval", ["interval_s", "kind"], "interval_s"],
    ["exposure", ["exposure_s", "exposure_compensation"], "exposure_s"],
  ])("to %s among %j is %s", (name, known, nearest) => {
    expect(nearestName(name, known)).toBe(nearest);
  });

  it("is undefined if every name differs in more than a third of its letters", () => {
    expect(nearestName("zoom", ["iso", "hdr", "quality"])).toBeUndefined();
    expect(didYouMean("zoom", ["iso"])).toBe("");
  });
});
