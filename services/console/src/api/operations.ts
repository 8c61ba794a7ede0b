// What the whole system does: one snapshot a second.

import type { components } from "spotter-detection";
import { api } from "./client";

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
export function snapshots(signal: AbortSignal): AsyncGenerator<Operations> {
  return api.operations({ signal });
}
