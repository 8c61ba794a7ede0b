// Limits of time.

/** How many seconds one request is held open. The API's own limit is 30. */
export const LONGEST_HOLD = 20;

/** What `setTimeout` takes at most: 24 days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** How many seconds longer than the whole call its last request may take: the answer has to come back. */
const GRACE = 3;

/** The result, unless `signal` is aborted before, which throws its reason. */
export function unlessAborted<T>(result: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    const settled = () => signal.removeEventListener("abort", abort);
    result.then(resolve, reject).finally(settled);
  });
}

/** The time that a call may take. */
export class Limit {
  readonly #end: number;

  constructor(seconds: number) {
    this.#end = performance.now() + seconds * 1000;
  }

  /** The seconds that are left, up to `atMost`. */
  left(atMost: number): number {
    return Math.min(atMost, Math.max(0, (this.#end - performance.now()) / 1000));
  }

  /** How many seconds one of the call's requests may take, up to `atMost`. */
  forRequest(atMost: number): number {
    return Math.min(atMost, this.left(Infinity) + GRACE);
  }

  /** For how long the API may hold an answer back: whole seconds. */
  hold(): number {
    return Math.ceil(this.left(LONGEST_HOLD));
  }

  get isOver(): boolean {
    return this.left(1) === 0;
  }
}

/** A signal that is aborted some seconds after the last `restart`, or with another signal. */
export class Timer {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #hasExpired = false;

  constructor(
    private readonly seconds: number,
    outer: AbortSignal | undefined,
  ) {
    this.#outer = outer;
    if (outer?.aborted) this.#controller.abort(outer.reason);
    // `AbortSignal.any` is not in Node 18.
    outer?.addEventListener("abort", this.#follow);
    this.restart();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether the time is over. */
  get hasExpired(): boolean {
    return this.#hasExpired;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  restart(): void {
    this.stop();
    this.#timer = setTimeout(() => {
      this.#hasExpired = true;
      this.#controller.abort();
    }, Math.min(this.seconds * 1000, LONGEST_TIMER_MS));
  }

  /** Ends what the signal was given to. */
  end(): void {
    this.stop();
    this.#outer?.removeEventListener("abort", this.#follow);
    this.#controller.abort();
  }

  #follow = () => this.#controller.abort(this.#outer?.reason);
}
