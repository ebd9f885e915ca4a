import { setTimeout as sleep } from "node:timers/promises";
import sharp from "sharp";
import { ulid } from "ulid";
import { jobSchema } from "../../contract/events.ts";
import { CAMERA, mint, URL_OF_FRONTEND } from "./installation.ts";
import type { NumberedCamera } from "./numbered-camera.ts";

const PICTURES = 5;
const TIMEOUT_MS = 180_000;

/** Asks for a film of new pictures of the camera, and watches it as the page does. @throws {Error} a step fails */
export async function demandFilm(camera: NumberedCamera): Promise<string> {
  const first = Date.now() - PICTURES * 60_000;
  for (let index = 0; index < PICTURES; index++) {
    const create = { width: 320, height: 240, channels: 3, background: { r: index * 40, g: 80, b: 160 } } as const;
    await camera.picture(ulid(first + index * 60_000).toLowerCase(), await sharp({ create }).jpeg().toBuffer());
  }
  const job = `film-${first}`;
  const data = { job, camera: CAMERA, from: new Date(first).toISOString(), to: new Date().toISOString(), fps: 5 };
  const message = { event: "job.requested", data };
  const asked = await call("/broadcast", {
    method: "POST",
    body: { channel: "jobs", message },
    token: await mint("broadcast:write"),
  });
  if (!asked.ok) throw new Error(`POST /broadcast answers ${asked.status}`);
  const film = (await completed(job)).films?.[0];
  if (film?.frames !== PICTURES) throw new Error(`the film has ${film?.frames} frames instead of ${PICTURES}`);

  // A film must not open without a token or with a token for another camera.
  for (const token of [undefined, await mint("camera:other:read")]) {
    const { status } = await call(film.url, { token });
    if (status !== 401 && status !== 403) throw new Error(`a stranger gets ${status} for a film`);
  }
  const link = await call(`/cameras/${CAMERA}${film.url}/link`, { method: "POST", token: await mint("camera:read") });
  const { token } = (await link.json()) as { token: string };
  const answer = await call(`${film.url}?token=${token}`);
  const bytes = Buffer.from(await answer.arrayBuffer());
  if (answer.status !== 200 || bytes.length !== film.size_bytes || !bytes.subarray(4, 8).equals(Buffer.from("ftyp")))
    throw new Error(`the film answers ${answer.status} with ${bytes.length} bytes instead of ${film.size_bytes}`);
  return `${film.frames} pictures, ${film.size_bytes} bytes, opened by its link only`;
}

async function completed(job: string) {
  const token = await mint("jobs:read");
  const end = performance.now() + TIMEOUT_MS;
  for (;;) {
    const { events } = (await (await call(`/jobs?job=${job}`, { token })).json()) as { events: { data: unknown }[] };
    const reports = events.map(({ data }) => jobSchema.parse(data));
    const last = reports.find(({ status }) => status === "completed" || status === "failed");
    if (last?.status === "completed") return last;
    if (last !== undefined || performance.now() > end)
      throw new Error(`the job ${last?.status ?? "did not end"}: ${last?.error ?? `${reports.length} reports`}`);
    await sleep(500);
  }
}

function call(path: string, options: { method?: string; body?: object; token?: string | undefined } = {}) {
  const { method = "GET", body, token } = options;
  return fetch(URL_OF_FRONTEND + path, {
    method,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}
