// Jobs and webhooks that were given up.

import { request } from "./http";
import type { components } from "./openapi";

type Schemas = components["schemas"];

/** A job that was given up, or a message that is no job, which has neither task nor model. */
export type DeadLetter = Schemas["DeadLetter"];
export type DeadLetterList = Schemas["DeadLetterList"];
export type DeadWebhook = Schemas["DeadWebhook"];
export type DeadWebhookList = Schemas["DeadWebhookList"];

const PAGE = 20;

const pathOf = (id: string) => `/v1/dead-letters/${encodeURIComponent(id)}`;

/** A page of the dead letters; `cursor` is `next` of the page before. */
export async function listDeadLetters(cursor: string | null, signal: AbortSignal | null): Promise<DeadLetterList> {
  const query = new URLSearchParams({ limit: String(PAGE) });
  if (cursor !== null) query.set("cursor", cursor);
  const answer = await request(`/v1/dead-letters?${query}`, { signal });
  return answer.json();
}

export async function deadLetterPicture(id: string, signal: AbortSignal): Promise<Blob> {
  const answer = await request(`${pathOf(id)}/picture`, { signal });
  return answer.blob();
}

/** Has a dead letter's job run again. */
export async function requeueDeadLetter(id: string): Promise<void> {
  await request(`${pathOf(id)}/requeue`, { method: "POST" });
}

/** Deletes a dead letter, with its picture. */
export async function dropDeadLetter(id: string): Promise<void> {
  await request(pathOf(id), { method: "DELETE" });
}

/** The oldest of them: those behind are listed when these are gone. */
export async function listDeadWebhooks(signal: AbortSignal): Promise<DeadWebhookList> {
  const answer = await request(`/v1/webhooks/dead-letters?limit=${PAGE}`, { signal });
  return answer.json();
}

/** Has a webhook delivered again. */
export async function replayWebhook(id: string): Promise<void> {
  await request(`/v1/webhooks/dead-letters/${encodeURIComponent(id)}/replay`, { method: "POST" });
}
