// When a request is sent again.

import { ApiError, SpotterError } from "./errors.js";

// The delay in seconds before a retry where the API does not name one: it doubles up to the longest.
const FIRST_DELAY = 0.5;
const LONGEST_DELAY = 15;
/** The least delay, also where the API says that none is needed. */
const SHORTEST_DELAY = 0.1;
/** How often in succession something fails before it is given up, however short the delays are. */
const MOST_FAILURES = 100;

/** What a `Backoff` knows of its surroundings. */
export interface Surroundings {
  /** Seconds since any moment. */
  now(): number;
  /** A number from 0 to 1. */
  random(): number;
}

export const REAL: Surroundings = { now: () => performance.now() / 1000, random: Math.random };

/**
 * The delays between the tries of one request. They are random within a range: many clients that failed together do not
 * come back together.
 */
export class Backoff {
  #failingSince: number | undefined;
  #failures = 0;

  constructor(
    private readonly retryFor: number,
    private readonly surroundings: Surroundings = REAL,
  ) {}

  /**
   * Seconds until the next try; `undefined` if it would come later than `retryFor` after the first failure. `retryAfter` are
   * the seconds that the API asks its clients to wait, if it says so.
   */
  delay(retryAfter: number | undefined): number | undefined {
    const now = this.surroundings.now();
    this.#failingSince ??= now;
    this.#failures += 1;
    const delay = this.#nextDelay(retryAfter);
    const isInTime = now + delay <= this.#failingSince + this.retryFor;
    return isInTime && this.#failures <= MOST_FAILURES ? delay : undefined;
  }

  /** Begins anew: what follows is another failure. */
  succeeded(): void {
    this.#failingSince = undefined;
    this.#failures = 0;
  }

  #nextDelay(retryAfter: number | undefined): number {
    const random = this.surroundings.random();
    if (retryAfter !== undefined) return Math.max(SHORTEST_DELAY, retryAfter) * (1 + random / 4);
    return Math.min(FIRST_DELAY * 2 ** Math.min(this.#failures - 1, 10), LONGEST_DELAY) * (0.5 + random / 2);
  }
}

/** Waits before the next try after `error`. Throws it where another try is of no use, or it is time to give up. */
export async function pauseAfter(
  error: unknown,
  backoff: Backoff,
  signal: AbortSignal | undefined,
  otherwise?: number,
): Promise<void> {
  if (!(error instanceof SpotterError)) throw error;
  const named = error instanceof ApiError ? error.retryAfter : undefined;
  const delay = backoff.delay(named ?? otherwise);
  if (delay === undefined) throw error;
  await pause(delay, signal);
}

/** Waits, unless `signal` is aborted, which throws its reason. */
export function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** The header `Retry-After`, which is a number of seconds or, from a proxy, a time. */
export function secondsOf(retryAfter: string | null): number | undefined {
  if (retryAfter === null || retryAfter.trim() === "") return undefined;
  if (/^\s*[+-]?\d+\s*$/.test(retryAfter)) return Math.max(0, Number(retryAfter));
  const time = Date.parse(retryAfter);
  return Number.isNaN(time) ? undefined : Math.max(0, (time - Date.now()) / 1000);
}
