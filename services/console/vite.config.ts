import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Plugin, defineConfig } from "vite";

// The packages whose code is in the built script. Their licences ask that their text goes along with it.
const PACKAGES = ["preact", "@preact/signals", "@preact/signals-core", "uplot"];

const licences: Plugin = {
  name: "licences",
  generateBundle() {
    const texts = PACKAGES.map((name) => `${name}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8")}`);
    this.emitFile({ type: "asset", fileName: "licences.txt", source: texts.join("\n") });
  },
};

// The sources of the TypeScript client, as tsconfig.json has them.
const client = fileURLToPath(new URL("../../libs/client-typescript/src/index.ts", import.meta.url));

// `npm run dev` serves the sources, and passes requests on to a running API: SPOTTER_URL, by default that of `make run`.
const api = process.env.SPOTTER_URL ?? "http://127.0.0.1:5000";

export default defineConfig({
  plugins: [licences],
  resolve: { alias: { "spotter-detection": client } },
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    // The API embeds these names, and serves the files under names with their digests.
    rollupOptions: {
      output: {
        entryFileNames: "assets/console.js",
        assetFileNames: "assets/console[extname]",
        codeSplitting: false,
      },
    },
  },
  server: { proxy: { "/v1": api, "/samples": api, "/docs": api, "/openapi.json": api } },
});
