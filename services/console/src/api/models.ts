// The models that can be asked, where the API lists them.

import { signal } from "@preact/signals";
import { request } from "./http";

export interface Model {
  name: string;
  licence?: string;
  family?: string;
  /** The median time of a run, in milliseconds. */
  latencyMs?: number;
}

/** Empty where the API has no list. */
export const models = signal<Model[]>([]);

/** The model for new pictures; `null`: the API's default. */
export const chosenModel = signal<string | null>(null);

/** Reads the list. It is also the first request of the page, which shows whether the API needs a key. */
export async function readModels(): Promise<void> {
  try {
    const answer = await request("/v1/models");
    const body: { models?: unknown[] } = await answer.json();
    models.value = (body.models ?? []).map(modelOf).filter((model) => model !== null);
  } catch {
    // Without a list there is nothing to choose; requests that matter say themselves what is wrong.
    models.value = [];
  }
}

function modelOf(entry: unknown): Model | null {
  const fields = entry as Record<string, unknown>;
  if (typeof fields.name !== "string") return null;
  const model: Model = { name: fields.name };
  if (typeof fields.licence === "string") model.licence = fields.licence;
  if (typeof fields.family === "string") model.family = fields.family;
  const latency = fields.latency as Record<string, unknown> | number | null | undefined;
  const median = typeof latency === "number" ? latency : latency?.p50_ms;
  if (typeof median === "number") model.latencyMs = median;
  return model;
}
