import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compressPage } from "../../../deploy/compress-page.ts";
import { startTestBridge, type TestBridge } from "../support/test-bridge.ts";

const SCRIPT = "export const words = 'many words, which a compression makes few';\n".repeat(50);
const INDEX = `<!doctype html><title>Skylapse</title>${"<p>text</p>".repeat(100)}`;
let pagePath: string;
let bridge: TestBridge;

beforeAll(async () => {
  pagePath = await mkdtemp(join(tmpdir(), "page-"));
  await mkdir(join(pagePath, "assets"));
  await writeFile(join(pagePath, "index.html"), INDEX);
  await writeFile(join(pagePath, "assets/index-abc.js"), SCRIPT);
  await writeFile(join(pagePath, "assets/small-abc.css"), "a{}");
  await writeFile(join(pagePath, "assets/picture-abc.png"), Buffer.alloc(2_000));
  await compressPage(pagePath);
  bridge = await startTestBridge({ pagePath });
});
afterAll(async () => {
  await bridge.stop();
  await rm(pagePath, { recursive: true });
});

async function get(path: string, headers: Record<string, string> = {}) {
  // `fetch` would decode the body.
  const { request } = await import("node:http");
  return await new Promise<{ status: number; headers: Record<string, unknown>; bytes: Buffer }>((resolve, reject) => {
    request({ port: bridge.port, host: "127.0.0.1", path, headers }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, bytes: Buffer.concat(parts) }),
      );
    })
      .on("error", reject)
      .end();
  });
}

describe("the files of the page", () => {
  it.each(["/assets/index-abc.js", "/"])("%s are sent compressed to a browser that accepts it", async (path) => {
    const plain = await get(path);
    const brotli = await get(path, { "accept-encoding": "gzip, deflate, br" });
    const gzip = await get(path, { "accept-encoding": "gzip" });
    const expected = path === "/" ? INDEX : SCRIPT;
    expect(plain.bytes.toString()).toBe(expected);
    expect(brotliDecompressSync(brotli.bytes).toString()).toBe(expected);
    expect(gunzipSync(gzip.bytes).toString()).toBe(expected);
    expect(brotli.bytes.length).toBeLessThan(plain.bytes.length / 4);
    expect([plain, brotli, gzip].map(({ headers }) => headers["content-encoding"])).toEqual([undefined, "br", "gzip"]);
    const types = [plain, brotli, gzip].map(({ headers }) => headers["content-type"]);
    expect(new Set(types).size).toBe(1);
    for (const { headers } of [plain, brotli, gzip]) expect(String(headers.vary)).toMatch(/accept-encoding/i);
  });

  it("keep for ever what is named by its content, and revalidate the rest by an ETag", async () => {
    const accept = { "accept-encoding": "br" };
    const script = await get("/assets/index-abc.js", accept);
    expect(script.headers["cache-control"]).toBe("public, max-age=31536000, immutable");
    const first = await get("/", accept);
    expect(first.headers["cache-control"]).toBe("no-cache");
    const again = await get("/", { ...accept, "if-none-match": String(first.headers.etag) });
    expect([again.status, again.bytes.length]).toEqual([304, 0]);
  });

  it("have the headers of a document only if they are one", async () => {
    const [page, script] = [await get("/"), await get("/assets/index-abc.js")];
    for (const name of ["content-security-policy", "x-frame-options", "referrer-policy", "x-ratelimit-limit"]) {
      expect(page.headers).toHaveProperty(name);
      expect(script.headers).not.toHaveProperty(name);
    }
    for (const { headers } of [page, script])
      expect(headers).toMatchObject({
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
      });
  });

  it("are never stale: a new build has another ETag", async () => {
    const accept = { "accept-encoding": "br" };
    const { etag } = (await get("/", accept)).headers;
    await writeFile(join(pagePath, "index.html"), INDEX.replace("Skylapse", "Skylapse 2"));
    await compressPage(pagePath);
    const next = await get("/", { ...accept, "if-none-match": String(etag) });
    expect([next.status, brotliDecompressSync(next.bytes).includes("Skylapse 2")]).toEqual([200, true]);
  });

  it("that are small or compressed already are sent as they are", async () => {
    for (const path of ["/assets/small-abc.css", "/assets/picture-abc.png"])
      expect((await get(path, { "accept-encoding": "br, gzip" })).headers["content-encoding"]).toBeUndefined();
  });
});
