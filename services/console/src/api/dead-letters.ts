// Jobs and webhooks that were given up.

import { request } from "./http";
import type { components } from "./openapi";

type Schemas = components["schemas"];

/** A job that was given up, or a message that is no job, which has neither task nor model. */
export type DeadLetter = Schemas["DeadLetter"];
export type DeadWebhook = Schemas["DeadWebhook"];
export type DeadWebhookList = Schemas["DeadWebhookList"];

/** How many are listed at first, and how many more each time. */
export const PAGE = 20;

/** The API gives no more at a time. */
const MOST_AT_A_TIME = 100;

const pathOf = (id: string) => `/v1/dead-letters/${encodeURIComponent(id)}`;

/** The oldest dead letters, as many as are wanted, and whether there are more. */
export async function listDeadLetters(
  wanted: number,
  signal: AbortSignal,
): Promise<{ letters: DeadLetter[]; hasMore: boolean }> {
  const letters: DeadLetter[] = [];
  let cursor: string | undefined;
  do {
    const query = new URLSearchParams({ limit: String(Math.min(wanted - letters.length, MOST_AT_A_TIME)) });
    if (cursor !== undefined) query.set("cursor", cursor);
    const answer = await request(`/v1/dead-letters?${query}`, { signal });
    const { dead_letters, next }: Schemas["DeadLetterList"] = await answer.json();
    letters.push(...dead_letters);
    cursor = next;
  } while (cursor !== undefined && letters.length < wanted);
  return { letters, hasMore: cursor !== undefined };
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
