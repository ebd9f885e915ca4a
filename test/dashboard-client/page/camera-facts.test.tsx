import { renderToStaticMarkup } from "react-dom/server";
import { expect, it, onTestFinished, vi } from "vitest";
import { CameraFacts } from "../../../dashboard-client/page/places/camera/overview/camera-facts.tsx";
import type { CameraState } from "../../../dashboard-client/state/camera-state.ts";

const minutesAgo = (minutes: number): string => new Date(Date.now() - minutes * 60_000).toISOString();
const factsOf = (state: Omit<CameraState, "id">): string =>
  renderToStaticMarkup(<CameraFacts camera={{ id: "north", ...state }} live={true} />);
const storageFrom = (minutes: number): Omit<CameraState, "id"> => ({
  storage: { value: { total_bytes: 64e9, free_bytes: 32e9 }, at: minutesAgo(minutes) },
});

it("the page shows a reading without its age until a repetition is overdue", () => {
  expect(factsOf(storageFrom(31))).not.toContain("measured");
});

it("the page shows the age of a reading whose repetition is overdue", () => {
  expect(factsOf(storageFrom(40))).toContain("measured");
});

it("the page uses the present time, also long after it last showed an age", () => {
  factsOf(storageFrom(40));
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 3_600_000 });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  expect(factsOf(storageFrom(40))).toContain("measured");
});

it("the page shows the current settings without an age", () => {
  const facts = factsOf({ settings: { value: {}, at: minutesAgo(600) } });
  expect(facts).toContain("Auto");
  expect(facts).not.toContain("measured");
});
