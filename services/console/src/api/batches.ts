// Batches: what has become of many pictures that were submitted together.

import { follow } from "./follow";
import { request } from "./http";
import type { components } from "./openapi";

export type Batch = components["schemas"]["Batch"];
export type BatchList = components["schemas"]["BatchList"];

/** The newest batches, without their refused pictures. */
export async function listBatches(limit: number, signal: AbortSignal): Promise<BatchList> {
  const answer = await request(`/v1/batches?limit=${limit}`, { signal });
  return answer.json();
}

/** The batch with its refused pictures, which its events leave out. */
export async function readBatch(id: string, signal: AbortSignal): Promise<Batch> {
  const answer = await request(`/v1/batches/${encodeURIComponent(id)}`, { signal });
  return answer.json();
}

/** The batch as it goes on, to its end. */
export function followBatch(id: string, signal: AbortSignal): AsyncGenerator<Batch> {
  const isLast = (batch: Batch) => batch.state === "FINISHED";
  return follow(`/v1/batches/${encodeURIComponent(id)}/events`, isLast, signal);
}
