import { defineConfig } from "vite";

// `npm run dev` serves the sources, and passes requests on to a running API: SPOTTER_URL, by default that of `make run`.
const api = process.env.SPOTTER_URL ?? "http://127.0.0.1:5000";

export default defineConfig({
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
