import { afterAll, beforeAll, expect, it } from "vitest";
import { startTestBridge, type TestBridge } from "../support/test-bridge.ts";

const FILM = "north.1080p-0123456789abcdef.mp4";
let bridge: TestBridge;

beforeAll(async () => {
  bridge = await startTestBridge();
});
afterAll(() => bridge.stop());

const linkTo = (film: string, camera = "north") =>
  bridge.call(`/cameras/${camera}/films/${film}/link`, { method: "POST", token: bridge.mint("camera:north:read") });
const access = async (film: string, token: string, camera = "north") =>
  (await bridge.call(`/cameras/${camera}/films/${film}/access`, { token })).status;

it("makes a link that opens one film for an hour, and nothing else", async () => {
  const { status, body } = await linkTo(FILM);
  expect(status).toBe(200);
  expect(Date.parse(body.expires_at) - Date.now()).toBeCloseTo(3_600_000, -5);
  expect(await access(FILM, body.token)).toBe(204);
  expect(await access("north.1080p-other.mp4", body.token)).toBe(403);
  expect((await bridge.call("/cameras/north/latest.jpg", { token: body.token })).status).toBe(403);
  expect((await bridge.call("/cameras", { token: body.token })).status).toBe(403);
});

it("permits a film to those who may see the pictures of its camera", async () => {
  expect(await access(FILM, bridge.mint("camera:north:read"))).toBe(204);
  expect(await access(FILM, bridge.mint("camera:south:read"))).toBe(403);
  // This film belongs to the camera `south`, although the path and the token are those of `north`.
  expect(await access("south.1080p-0123.mp4", bridge.mint("camera:north:read"))).toBe(404);
  expect((await linkTo("south.1080p-0123.mp4")).status).toBe(404);
  expect((await linkTo("south.1080p-0123.mp4", "south")).status).toBe(403);
  expect((await bridge.call(`/cameras/north/films/${FILM}/access`)).status).toBe(401);
});

it("ends all links when an admin revokes their user", async () => {
  const { token } = (await linkTo(FILM)).body;
  const body = { user_id: "film-link" };
  expect((await bridge.call("/auth/revoke", { method: "POST", body, token: bridge.mint("admin") })).status).toBe(204);
  expect(await access(FILM, token)).toBe(401);
  expect(await access(FILM, (await linkTo(FILM)).body.token)).toBe(204);
});
