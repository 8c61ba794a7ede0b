// Batches: what has become of many pictures that were submitted together.

import type { Batch, BatchList } from "spotter-detection";
import { REOPENED_FOR, api, getJson } from "./client";

export type { Batch };

/** The newest batches, without their refused pictures. */
export function listBatches(limit: number, signal: AbortSignal): Promise<BatchList> {
  return getJson(`/v1/batches?limit=${limit}`, signal);
}

/** The batch with its refused pictures, which its events leave out. */
export function readBatch(id: string, signal: AbortSignal): Promise<Batch> {
  return api.batches.get(id, { signal });
}

/** The batch as it goes on, to its end. */
export async function* followBatch(id: string, signal: AbortSignal): AsyncGenerator<Batch> {
  for await (const { batch } of api.batches.events(id, { signal, retryFor: REOPENED_FOR })) yield batch;
}
