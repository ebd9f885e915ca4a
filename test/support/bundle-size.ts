import { gzipSync } from "node:zlib";
import { build } from "vite";

/** A bundle for browsers, as Vite makes it for an application. */
export interface BundleSize {
  bytes: number;
  gzipBytes: number;
  code: string;
  /** The modules in the bundle, absolute paths. */
  modules: string[];
}

/**
 * Bundles and minifies a module and everything that it imports.
 * @param entry an absolute path, or the name of an installed package. Every export of the module is kept.
 * @param external packages that the application has anyway
 */
export async function bundleSize(entry: string, external: string[] = []): Promise<BundleSize> {
  const result = await build({
    configFile: false,
    logLevel: "error",
    define: { "process.env.NODE_ENV": '"production"' },
    build: {
      write: false,
      minify: true,
      target: "es2022",
      modulePreload: false,
      rollupOptions: { input: entry, external, preserveEntrySignatures: "strict" },
    },
  });
  const outputs = [result].flat().flatMap((one) => ("output" in one ? one.output : []));
  const chunks = outputs.flatMap((one) => (one.type === "chunk" ? [one] : []));
  const code = chunks.map((chunk) => chunk.code).join("");
  return {
    bytes: Buffer.byteLength(code),
    gzipBytes: gzipSync(code).length,
    code,
    modules: chunks.flatMap((chunk) => chunk.moduleIds),
  };
}
