import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";
import { firstScripts } from "./first-scripts-plugin.ts";
import { serviceWorker } from "./offline/service-worker-plugin.ts";
import { texts } from "./text/texts-plugin.ts";

const pathOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export default defineConfig({
  root: pathOf("."),
  // Relative addresses work below any path of a reverse proxy.
  base: "./",
  plugins: [texts(), react(), firstScripts(), serviceWorker()],
  // React 19 has the function that wouter's dependency adds to older versions.
  resolve: { alias: { "use-sync-external-store/shim/index.js": "react" } },
  build: {
    outDir: pathOf("../../dist/page"),
    emptyOutDir: true,
    // The content security policy of the page forbids inline assets.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
});
