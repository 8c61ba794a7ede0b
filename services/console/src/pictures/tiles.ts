// Into how many tiles new pictures are cut, which are run besides the whole (docs/small-objects.md).

import { computed, signal } from "@preact/signals";

/** The most that the API allows in all. */
export const MOST_TILES = 64;

export type TilesMode = "none" | "auto" | "grid";

export const tilesMode = signal<TilesMode>("none");
export const columns = signal(2);
export const rows = signal(2);

/** The parameter `tiles` for new pictures; `null`: none. */
export const chosenTiles = computed(() => {
  if (tilesMode.value === "none") return null;
  return tilesMode.value === "auto" ? "auto" : `${columns.value}x${rows.value}`;
});
