// What all calls have in common: which errors lead to another try.

import type { Connection } from "./connection.js";
import { SpotterError } from "./errors.js";
import { Backoff, pauseAfter } from "./retries.js";
import type { Limit } from "./time-limit.js";

/** How a call is retried. */
export interface Retrying {
  /** For how many seconds after the first failure. */
  retryFor: number;
  signal: AbortSignal | undefined;
  /** Which errors may pass. Default: those that are temporary. */
  mayPass?: (error: SpotterError) => boolean;
  /** Whether the try that ended with this error brought the call forward: then the failures before it do not count. */
  hasProgressed?: (error: SpotterError) => boolean;
  /** The time of the whole call, after which nothing is tried again. */
  limit?: Limit;
}

/** The result of the first try that succeeds. */
export async function retried<T>(attempt: () => Promise<T>, retrying: Retrying): Promise<T> {
  const { retryFor, signal, mayPass = isTemporary, hasProgressed, limit } = retrying;
  const backoff = new Backoff(retryFor);
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof SpotterError) || !mayPass(error) || limit?.isOver) throw error;
      if (hasProgressed?.(error)) backoff.succeeded();
      await pauseAfter(error, backoff, signal);
    }
  }
}

function isTemporary(error: SpotterError): boolean {
  return error.isTemporary;
}

/** The errors of a request that must not be carried out twice: those after which it certainly has not been. */
export function isCertainlyRefused(error: SpotterError): boolean {
  return error.isTemporary && !error.isUncertain;
}

/** A page of a list. */
interface Page {
  next?: string;
}

/** The pages of a list, each requested when it is needed. */
export async function* pagesOf<T extends Page>(
  connection: Connection,
  list: { path: string; query: [string, string][]; retryFor: number; signal: AbortSignal | undefined },
): AsyncGenerator<T> {
  const { path, query, signal } = list;
  for (let cursor: string | undefined; ; ) {
    const all: [string, string][] = cursor === undefined ? query : [...query, ["cursor", cursor]];
    const page = await retried(() => connection.json<T>({ method: "GET", path, query: all }, signal), list);
    yield page;
    if (page.next === undefined) return;
    cursor = page.next;
  }
}
