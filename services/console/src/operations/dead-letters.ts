// The dead letters that are listed.

import { type Signal, signal } from "@preact/signals";
import { type DeadLetter, type DeadWebhook, listDeadLetters, listDeadWebhooks } from "../api/dead-letters";
import { apiKey } from "../api/key";
import { type Explanation, explain } from "../api/problem";

/** `null` before it is read. */
export const deadLetters = signal<DeadLetter[] | null>(null);
export const deadWebhooks = signal<DeadWebhook[] | null>(null);

/** Whether there are more dead letters than those that are listed. */
export const hasMoreLetters = signal(false);

/** Why a list could not be read. */
export const lettersFailure = signal<Explanation | null>(null);
export const webhooksFailure = signal<Explanation | null>(null);

// Whoever gives another key may not see what this one has listed.
apiKey.subscribe(() => {
  deadLetters.value = null;
  deadWebhooks.value = null;
  hasMoreLetters.value = false;
});

/** For each read that is on its way, what was removed since it began: the API may have answered it before. */
type Reads = Set<Set<string>>;
const readsOfLetters: Reads = new Set();
const readsOfWebhooks: Reads = new Set();

/** Reads as many as are wanted, from the beginning of the list. */
export async function readDeadLetters(wanted: number, left: AbortSignal): Promise<void> {
  await explained(lettersFailure, left, readsOfLetters, async (removed) => {
    const { letters, hasMore } = await listDeadLetters(wanted, left);
    if (left.aborted) return;
    deadLetters.value = letters.filter(({ id }) => !removed.has(id));
    hasMoreLetters.value = hasMore;
  });
}

export async function readDeadWebhooks(left: AbortSignal): Promise<void> {
  await explained(webhooksFailure, left, readsOfWebhooks, async (removed) => {
    const { dead_letters } = await listDeadWebhooks(left);
    if (left.aborted) return;
    deadWebhooks.value = dead_letters.filter(({ task_id }) => !removed.has(task_id));
  });
}

export function removeDeadLetter(id: string): void {
  for (const removed of readsOfLetters) removed.add(id);
  deadLetters.value = deadLetters.value?.filter((letter) => letter.id !== id) ?? null;
}

/** It may be given up again: reads that begin later list it. */
export function removeDeadWebhook(id: string): void {
  for (const removed of readsOfWebhooks) removed.add(id);
  deadWebhooks.value = deadWebhooks.value?.filter((webhook) => webhook.task_id !== id) ?? null;
}

/** Reads, and shows in `failure` what went wrong, unless the view was left. */
async function explained(
  failure: Signal<Explanation | null>,
  left: AbortSignal,
  reads: Reads,
  read: (removed: ReadonlySet<string>) => Promise<void>,
): Promise<void> {
  const removed = new Set<string>();
  reads.add(removed);
  try {
    await read(removed);
    if (!left.aborted) failure.value = null;
  } catch (error) {
    if (!left.aborted) failure.value = explain(error);
  } finally {
    reads.delete(removed);
  }
}
