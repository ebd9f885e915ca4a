import { describe, expect, it } from "vitest";
import { pictureWidth } from "../../../dashboard-client/page/picture-width.ts";

describe("the width of a picture", () => {
  it.each([
    [100, 1, 160],
    [160, 1, 160],
    [161, 1, 320],
    [320, 2, 640],
    [330, 2, undefined],
    [2000, 1, undefined],
  ])("of a box of %s pixels at %s times the density is %s", (box, pixelRatio, width) => {
    expect(pictureWidth(box, { pixelRatio, link: {} })).toBe(width);
  });

  it.each([{ saveData: true }, { effectiveType: "2g" }, { effectiveType: "slow-2g" }])(
    "is at most 320 with %j",
    (link) => {
      expect(pictureWidth(2000, { pixelRatio: 3, link })).toBe(320);
      expect(pictureWidth(100, { pixelRatio: 3, link })).toBe(160);
      expect(pictureWidth(2000, { pixelRatio: 1, link: { effectiveType: "4g" } })).toBeUndefined();
    },
  );
});
