// Following something to its end by its event stream.

import { eventsOf } from "./event-stream";
import { pause, request } from "./http";
import { ApiError } from "./problem";

/** How often a broken stream is opened again, and for how long the first pause is. */
const MOST_RECONNECTS = 8;
const FIRST_PAUSE_MS = 500;

/**
 * What the events of `path` contain, one after the other, up to one that `isLast`. A connection that breaks is opened again
 * behind the last event.
 */
export async function* follow<T>(path: string, isLast: (item: T) => boolean, signal: AbortSignal): AsyncGenerator<T> {
  let last = "";
  for (let broken = 0; ; broken++) {
    try {
      const headers: Record<string, string> = last ? { "Last-Event-ID": last } : {};
      const answer = await request(path, { headers, signal });
      for await (const event of eventsOf(answer)) {
        const item: T = JSON.parse(event.data);
        last = event.id;
        broken = 0;
        yield item;
        if (isLast(item)) return;
      }
      // Nothing follows the last event.
      if (answer.status === 204) return;
    } catch (error) {
      if (signal.aborted) throw error;
      // A connection that breaks in mid stream is a TypeError.
      const mayRecover = error instanceof TypeError || (error instanceof ApiError && error.isTemporary);
      if (!mayRecover || broken >= MOST_RECONNECTS) throw error;
      await pause(error instanceof ApiError && error.retryAfter ? error.retryAfter * 1000 : 0, signal);
    }
    if (broken >= MOST_RECONNECTS) throw ApiError.unreachable();
    await pause(FIRST_PAUSE_MS * 2 ** Math.min(broken, 5), signal);
  }
}
