// A short message about something that has no place of its own on the page.

import { signal } from "@preact/signals";
import { explain } from "./api/problem";

const SHOWN_FOR_MS = 8000;

export const notice = signal<string | null>(null);

let timer: number | undefined;

export function showNotice(text: string): void {
  notice.value = text;
  clearTimeout(timer);
  timer = window.setTimeout(() => (notice.value = null), SHOWN_FOR_MS);
}

/** Shows why something failed that a person has asked for. */
export function showFailure(error: unknown): void {
  const { what, advice } = explain(error);
  showNotice(`${what} ${advice}`);
}
