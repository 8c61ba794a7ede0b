// The models that can be asked.

import { signal } from "@preact/signals";
import type { Model } from "spotter-detection";
import { api } from "./client";

export type { Model };

/** Empty until they are read. */
export const models = signal<Model[]>([]);

/** The model for new pictures; `null`: the API's default. */
export const chosenModel = signal<string | null>(null);

/** Reads the list. It is also the first request of the page, which shows whether the API needs a key. */
export async function readModels(): Promise<void> {
  try {
    models.value = await api.models();
  } catch {
    // Without a list there is nothing to choose; requests that matter say themselves what is wrong.
    models.value = [];
  }
}
