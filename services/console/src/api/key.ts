// The API key, where the API asks for one. It is in memory, and in the session storage if its owner wants that: never in a
// URL, and never in storage that outlives the tab.

import { computed, signal } from "@preact/signals";

const STORED = "spotter.api-key";

const key = signal<string | null>(sessionStorage.getItem(STORED));

/** The key that requests are sent with. */
export const apiKey = computed(() => key.value);

/** What the person is told who is asked for a key; `null`: nobody is asked. */
export const question = signal<string | null>(null);

/** Those who wait for the answer. */
let waiting: ((isGiven: boolean) => void)[] = [];

/** Asks for a key, once for all who wait. The answer is whether one was given. */
export function askForKey(reason: string): Promise<boolean> {
  question.value = reason;
  return new Promise((resolve) => waiting.push(resolve));
}

export function giveKey(text: string, keepInSession: "keep" | "forget"): void {
  key.value = text;
  if (keepInSession === "keep") sessionStorage.setItem(STORED, text);
  else sessionStorage.removeItem(STORED);
  answer(true);
}

export function forgetKey(): void {
  key.value = null;
  sessionStorage.removeItem(STORED);
}

export function closeQuestion(): void {
  answer(false);
}

function answer(isGiven: boolean): void {
  question.value = null;
  const all = waiting;
  waiting = [];
  for (const resolve of all) resolve(isGiven);
}

/** `spotter_<id>_<secret>` as `spotter_<id>`, which is not secret. */
export function publicPart(text: string): string {
  return text.split("_").slice(0, 2).join("_");
}
