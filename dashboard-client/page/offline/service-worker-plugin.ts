import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, type Plugin, type Rolldown } from "vite";

const SOURCE = fileURLToPath(new URL("service-worker.ts", import.meta.url));

/** Emits `sw.js`, with the list of all files of the build. workbox-build would do it too, with 200 packages. */
export function serviceWorker(): Plugin {
  let publicFolder = "";
  return {
    name: "skylapse-service-worker",
    apply: "build",
    enforce: "post",
    configResolved: ({ publicDir }) => {
      publicFolder = publicDir;
    },
    generateBundle: {
      order: "post",
      async handler(_options, bundle) {
        const files = [...Object.values(bundle).map(builtFile), ...publicFiles(publicFolder)];
        files.sort((one, other) => (one.url < other.url ? -1 : 1));
        this.emitFile({ type: "asset", fileName: "sw.js", source: await bundleWorker(files) });
      },
    },
  };
}

interface ShellFile {
  url: string;
  revision: string | null;
}

function builtFile(file: Rolldown.OutputChunk | Rolldown.OutputAsset): ShellFile {
  const { fileName: url } = file;
  const isNamedByContent = url.startsWith("assets/");
  return { url, revision: isNamedByContent ? null : revisionOf(file.type === "chunk" ? file.code : file.source) };
}

function publicFiles(folder: string): ShellFile[] {
  return readdirSync(folder).map((url) => ({ url, revision: revisionOf(readFileSync(join(folder, url))) }));
}

function revisionOf(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex").slice(0, 16);
}

async function bundleWorker(files: readonly ShellFile[]): Promise<string> {
  const result = await build({
    configFile: false,
    logLevel: "error",
    publicDir: false,
    define: { SHELL_FILES: JSON.stringify(files), "process.env.NODE_ENV": '"production"' },
    build: { write: false, target: "es2022", modulePreload: false, rollupOptions: { input: SOURCE } },
  });
  const [worker] = [result].flat().flatMap((one) => ("output" in one ? one.output : []));
  if (worker?.type !== "chunk") throw new Error("the service worker was not bundled");
  return worker.code;
}
