// Jobs and webhooks that were given up.

import type { components } from "spotter-detection";
import { api, getContent, getJson } from "./client";

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
    const { dead_letters, next } = await getJson<Schemas["DeadLetterList"]>(`/v1/dead-letters?${query}`, signal);
    letters.push(...dead_letters);
    cursor = next;
  } while (cursor !== undefined && letters.length < wanted);
  return { letters, hasMore: cursor !== undefined };
}

export function deadLetterPicture(id: string, signal: AbortSignal): Promise<Blob> {
  return getContent(`${pathOf(id)}/picture`, signal);
}

/** Has a dead letter's job run again. */
export async function requeueDeadLetter(id: string): Promise<void> {
  await api.content({ method: "POST", path: `${pathOf(id)}/requeue` });
}

/** Deletes a dead letter, with its picture. */
export async function dropDeadLetter(id: string): Promise<void> {
  await api.content({ method: "DELETE", path: pathOf(id) });
}

/** The oldest of them: those behind are listed when these are gone. */
export function listDeadWebhooks(signal: AbortSignal): Promise<DeadWebhookList> {
  return getJson(`/v1/webhooks/dead-letters?limit=${PAGE}`, signal);
}

/** Has a webhook delivered again. */
export async function replayWebhook(id: string): Promise<void> {
  await api.content({ method: "POST", path: `/v1/webhooks/dead-letters/${encodeURIComponent(id)}/replay` });
}
