import { cpSync, existsSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { build, type Plugin } from "vite";
import { BUNDLE_FOLDER, DIST } from "./bundled.ts";

/** The programs that tests start, and the files that these programs start, below `dist`. */
const PROGRAMS = [
  ...[
    "deploy/start.js",
    "deploy/skylapse.js",
    "deploy/simulator/simulate.js",
    "bridge/journal/archive/worker.js",
    "device/main.js",
  ],
  ...["test/support/picture-program.js", "test/support/sender-program.js"],
];
/** Packages with compiled code or with threads, which load their own files. */
const EXTERNAL = ["classic-level", "libsql", "pino", "pino-pretty", "sharp", "thread-stream"];

/** Stands for the address of the bundle in a module whose chunk is not known yet. */
const BUNDLE = "__BUNDLE__";

/**
 * Bundles the built programs: each starts from a few files instead of a thousand, in half of the CPU time. Does nothing
 * if nothing is built or the build has not changed. The tests in `test/release` start the programs of `dist` itself.
 */
export async function bundlePrograms(): Promise<void> {
  if (!existsSync(join(DIST, "deploy/start.js"))) return;
  const files = readdirSync(DIST, { recursive: true, encoding: "utf8" }).filter(
    (path) => /\.(js|lua)$/.test(path) && !path.startsWith("test/bundled"),
  );
  const changed = Math.max(...files.map((path) => statSync(join(DIST, path)).mtimeMs));
  if (existsSync(BUNDLE_FOLDER) && statSync(BUNDLE_FOLDER).mtimeMs > changed) return;
  const children = files.filter((path) => path.startsWith("test/") && path.endsWith("-child.js"));
  const temporary = mkdtempSync(`${BUNDLE_FOLDER}-`);
  try {
    await build({
      configFile: false,
      root: DIST,
      publicDir: false,
      logLevel: "error",
      plugins: [keepAddresses()],
      ssr: { noExternal: true, external: EXTERNAL },
      build: {
        ssr: true,
        outDir: temporary,
        minify: false,
        target: "node20",
        rolldownOptions: {
          input: Object.fromEntries(
            [...PROGRAMS, ...children].map((path) => [path.slice(0, -".js".length), join(DIST, path)]),
          ),
          output: { entryFileNames: "[name].js", chunkFileNames: "[name]-[hash].js" },
        },
      },
    });
    for (const path of files.filter((path) => path.endsWith(".lua"))) cpSync(join(DIST, path), join(temporary, path));
    rmSync(BUNDLE_FOLDER, { recursive: true, force: true });
    renameSync(temporary, BUNDLE_FOLDER);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Lets `import.meta.url` name the place of the module below `dist`, because modules find other files by it. */
function keepAddresses(): Plugin {
  return {
    name: "keep-addresses",
    transform(code, id) {
      if (!id.startsWith(DIST) || !code.includes("import.meta.url")) return;
      return code.replaceAll("import.meta.url", `new URL(${JSON.stringify(relative(DIST, id))}, ${BUNDLE}).href`);
    },
    renderChunk(code, { fileName }) {
      const up = "../".repeat(fileName.split("/").length - 1) || "./";
      return code.replaceAll(BUNDLE, `new URL("${up}", import.meta.url)`);
    },
  };
}
