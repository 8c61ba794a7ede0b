// What the whole system does: one snapshot a second.

import { eventsOf } from "./event-stream";
import { request } from "./http";
import type { components } from "./openapi";

type Schemas = components["schemas"];

/** What the API could not find out, or what is not configured, is absent. */
export type Operations = Schemas["OperationsSnapshot"];
export type Stage = Schemas["StageLatency"];
export type Worker = Schemas["WorkerState"];
export type Api = Schemas["ApiState"];
export type ClassTotal = Schemas["ClassTotal"];

/** Two processes may have the same name, such as a container that was started again. */
export function processKey({ name, started_at }: Worker | Api): string {
  return `${name} ${started_at}`;
}

/** Each snapshot as it comes, until the API ends the stream. */
export async function* snapshots(signal: AbortSignal): AsyncGenerator<Operations> {
  const answer = await request("/v1/operations/events", { signal });
  for await (const event of eventsOf(answer)) {
    if (event.name === "snapshot") yield JSON.parse(event.data);
  }
}
