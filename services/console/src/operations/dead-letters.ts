// The dead letters that are listed.

import { type Signal, signal } from "@preact/signals";
import { type DeadLetter, type DeadWebhook, listDeadLetters, listDeadWebhooks } from "../api/dead-letters";
import { type Explanation, explain } from "../api/problem";

/** `null` before it is read. */
export const deadLetters = signal<DeadLetter[] | null>(null);
export const deadWebhooks = signal<DeadWebhook[] | null>(null);

/** The cursor of the next page; `null`: all are listed. */
export const nextPage = signal<string | null>(null);

/** Why a list could not be read. */
export const lettersFailure = signal<Explanation | null>(null);
export const webhooksFailure = signal<Explanation | null>(null);

/** Reads the list from its beginning. */
export async function readDeadLetters(left: AbortSignal): Promise<void> {
  await explained(lettersFailure, left, async () => {
    const { dead_letters, next } = await listDeadLetters(null, left);
    deadLetters.value = dead_letters;
    nextPage.value = next ?? null;
  });
}

export async function readMoreDeadLetters(): Promise<void> {
  await explained(lettersFailure, null, async () => {
    const { dead_letters, next } = await listDeadLetters(nextPage.value, null);
    const known = deadLetters.value ?? [];
    const isNew = (letter: DeadLetter) => known.every((other) => other.id !== letter.id);
    deadLetters.value = [...known, ...dead_letters.filter(isNew)];
    nextPage.value = next ?? null;
  });
}

export async function readDeadWebhooks(left: AbortSignal): Promise<void> {
  await explained(webhooksFailure, left, async () => {
    deadWebhooks.value = (await listDeadWebhooks(left)).dead_letters;
  });
}

export function removeDeadLetter(id: string): void {
  deadLetters.value = deadLetters.value?.filter((letter) => letter.id !== id) ?? null;
}

export function removeDeadWebhook(id: string): void {
  deadWebhooks.value = deadWebhooks.value?.filter((webhook) => webhook.task_id !== id) ?? null;
}

/** Reads, and shows in `failure` what went wrong, unless the view was left. */
async function explained(
  failure: Signal<Explanation | null>,
  left: AbortSignal | null,
  read: () => Promise<void>,
): Promise<void> {
  try {
    await read();
    failure.value = null;
  } catch (error) {
    if (!left?.aborted) failure.value = explain(error);
  }
}
