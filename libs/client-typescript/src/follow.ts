// Following something to its end by its event stream, over as many connections as it takes.

import type { Connection, StreamWatch } from "./connection.js";
import { NoAnswerError, SpotterError } from "./errors.js";
import { parsed } from "./json.js";
import { Backoff, REAL, type Surroundings, pauseAfter } from "./retries.js";

/**
 * After how many seconds a stream is one of an API that is well, also where nothing happens: the API sends a comment every 15
 * seconds.
 */
const STABLE_AFTER = 10;

/** Something that has happened, and what it has happened to, as it is since then. */
export interface Followed<T> {
  kind: string;
  item: T;
}

/** What is followed. */
export interface Following<T> {
  path: string;
  /** Whether nothing follows. */
  isLast: (item: T) => boolean;
  retryFor: number;
  signal: AbortSignal | undefined;
}

/** The events of `path`, from the present state to the last one. Reconnects behind the last event that came. */
export async function* follow<T>(
  connection: Connection,
  following: Following<T>,
  surroundings: Surroundings = REAL,
): AsyncGenerator<Followed<T>> {
  const { path, isLast, retryFor, signal } = following;
  const backoff = new Backoff(retryFor, surroundings);
  let openedAt = 0;
  let [lastId, hasEnded] = ["", false];
  let retry: number | undefined;
  const watch: StreamWatch = {
    onOpen: () => (openedAt = surroundings.now()),
    onChunk: () => {
      if (surroundings.now() - openedAt >= STABLE_AFTER) backoff.succeeded();
    },
    onEnd: () => (hasEnded = true),
  };
  for (;;) {
    let lost: SpotterError = new NoAnswerError("the stream of events broke off");
    try {
      for await (const event of connection.events(path, lastId, signal, watch)) {
        const item = parsed<T>(event.data, "an event");
        backoff.succeeded();
        ({ id: lastId, retry } = event);
        yield { kind: event.name, item };
        if (isLast(item)) return;
      }
    } catch (error) {
      if (!(error instanceof SpotterError) || !error.isTemporary) throw error;
      lost = error;
    }
    if (hasEnded) return;
    await pauseAfter(lost, backoff, signal, retry);
  }
}
