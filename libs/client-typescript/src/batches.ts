// Batches: many pictures in one request.

import { isCertainlyRefused, pagesOf, retried } from "./calls.js";
import type { ApiRequest, Connection } from "./connection.js";
import { ApiError, NoAnswerError, SpotterError, WaitTimeoutError } from "./errors.js";
import { follow } from "./follow.js";
import { parsed } from "./json.js";
import { queryOf } from "./parameters.js";
import { type Picture, type PictureSource, pictureOf } from "./pictures.js";
import { Backoff, pauseAfter } from "./retries.js";
import { type Submission, submissionOf } from "./submission.js";
import { Timer } from "./time-limit.js";
import type { Batch, BatchList, CallOptions, Refused, SubmissionOptions, Task, WaitOptions } from "./types.js";

/** How many seconds sending a batch may take: longer than an API receives one. */
const LONGEST_SUBMISSION = 2 * 3600;
/** How many seconds `wait` waits for the end, unless its caller says otherwise. */
const WAIT_FOR = 300;

/** What became of a picture of a batch: its task, or why it has none. */
export type BatchResult = {
  /** Its place in the batch, from 0. */
  index: number;
  /** Its name; empty where that is not known. */
  name: string;
} & ({ task: Task; error?: undefined } | { task?: undefined; error: Pick<Refused, "type" | "detail"> });

/** A result as it is sent: the members of a task beside those of the picture. */
type ResultLine = Task & { index: number; name?: string; error?: Pick<Refused, "type" | "detail"> };

/** An event of a batch. */
export interface BatchEvent {
  /** `progress`, and `finished` at the end. */
  kind: string;
  /** The batch, without its refused pictures. */
  batch: Batch;
}

/** The batches of one API: `batches` of a `Spotter`. */
export class Batches {
  readonly #connection: Connection;
  readonly #retryFor: number;

  constructor(connection: Connection, retryFor: number) {
    this.#connection = connection;
    this.#retryFor = retryFor;
  }

  /**
   * Submits pictures in one request: either all of them by URL, or none. The answer comes when all have been received; one
   * that is refused does not affect the others. A batch that breaks off is continued. Sending it may take up to two hours,
   * whatever `requestTimeout` is.
   */
  async submit(
    pictures: Iterable<PictureSource> | AsyncIterable<PictureSource>,
    options: SubmissionOptions = {},
  ): Promise<Batch> {
    const all: Picture[] = [];
    for await (const picture of pictures) all.push(pictureOf(picture));
    const submission = submissionOf(options, 0);
    const request = requestOf(all, submission);
    const mayPass = submission.isIdempotent ? mayBeContinued : isCertainlyRefused;
    let received = 0;
    const hasProgressed = (error: SpotterError) => {
      const before = received;
      if (error instanceof ApiError) received = Math.max(before, error.batch?.received ?? 0);
      return received > before;
    };
    const again = { ...this.#retrying(options), mayPass, hasProgressed };
    return retried(() => this.#connection.json(request, options.signal), again);
  }

  /** The batch as it is now, with its refused pictures. */
  get(batch: Batch | string, options: CallOptions = {}): Promise<Batch> {
    return this.#json({ method: "GET", path: pathOf(batch) }, options);
  }

  /** Batches, newest first, without their refused pictures. Pages are requested as they are needed. */
  async *list(options: CallOptions & { limit?: number } = {}): AsyncGenerator<Batch> {
    const query = queryOf({ limit: options.limit });
    const list = { path: "/v1/batches", query, ...this.#retrying(options) };
    for await (const page of pagesOf<BatchList>(this.#connection, list)) yield* page.batches;
  }

  /** The events of a batch, from its present state to its end. Reconnects where the connection is lost. */
  async *events(batch: Batch | string, options: CallOptions = {}): AsyncGenerator<BatchEvent> {
    const following = { path: `${pathOf(batch)}/events`, isLast: isFinished, ...this.#retrying(options) };
    for await (const { kind, item } of follow<Batch>(this.#connection, following)) yield { kind, batch: item };
  }

  /** Waits until each task of a batch has ended. */
  async wait(batch: Batch | string, options: WaitOptions = {}): Promise<Batch> {
    const timer = new Timer(options.timeout ?? WAIT_FOR, options.signal);
    try {
      for await (const event of this.events(batch, { ...options, signal: timer.signal })) void event;
    } catch (error) {
      if (!timer.hasExpired) throw error;
      const found = await this.get(batch, options);
      if (isFinished(found)) return found;
      throw new WaitTimeoutError(found);
    } finally {
      timer.end();
    }
    return this.get(batch, options);
  }

  /** What became of the pictures, in their order. A task that has not ended is in its present state. */
  async *results(batch: Batch | string, options: CallOptions = {}): AsyncGenerator<BatchResult> {
    const { received } = typeof batch === "string" ? await this.get(batch, options) : batch;
    const { retryFor, signal } = this.#retrying(options);
    const backoff = new Backoff(retryFor);
    let next = 0;
    while (next < received) {
      let lost: SpotterError = new NoAnswerError("the results ended before the last one");
      try {
        for await (const line of this.#connection.lines({ method: "GET", path: `${pathOf(batch)}/results` }, signal)) {
          const result = resultOf(line);
          // From the beginning, where they had broken off.
          if (result.index < next) continue;
          backoff.succeeded();
          next = result.index + 1;
          yield result;
        }
      } catch (error) {
        if (!(error instanceof SpotterError) || !error.isTemporary) throw error;
        lost = error;
      }
      if (next < received) await pauseAfter(lost, backoff, signal);
    }
  }

  /** Cancels a batch: its tasks that have not ended, and pictures that still arrive. */
  async cancel(batch: Batch | string, options: CallOptions = {}): Promise<Batch> {
    try {
      return await this.#json({ method: "DELETE", path: pathOf(batch) }, options);
    } catch (error) {
      // Cancelled before, for example by a request whose answer was lost.
      if (error instanceof ApiError && error.batch?.cancelled) return error.batch;
      throw error;
    }
  }

  #json<T>(request: ApiRequest, options: CallOptions): Promise<T> {
    return retried(() => this.#connection.json<T>(request, options.signal), this.#retrying(options));
  }

  #retrying({ retryFor = this.#retryFor, signal }: CallOptions) {
    return { retryFor, signal };
  }
}

function requestOf(pictures: Picture[], { parameters, headers }: Submission): ApiRequest {
  const common = { method: "POST", path: "/v1/batches", query: queryOf(parameters), timeout: LONGEST_SUBMISSION } as const;
  const urls = pictures.flatMap((picture) => ("url" in picture ? [picture.url] : []));
  if (urls.length === pictures.length) {
    const body = JSON.stringify({ items: urls });
    return { ...common, headers: { ...headers, "Content-Type": "application/json" }, body };
  }
  if (urls.length > 0) throw new TypeError("a batch has URLs only, or none: submit two batches");
  const body = new FormData();
  for (const picture of pictures) if ("content" in picture) body.append("file", picture.content, picture.name);
  return { ...common, headers, body };
}

/** Whether the same batch sent again continues it. */
function mayBeContinued(error: SpotterError): boolean {
  return error.isTemporary || (error instanceof ApiError && error.kind === "batch-in-progress");
}

function resultOf(line: string): BatchResult {
  const { index, name = "", error, ...task } = parsed<ResultLine>(line, "a result");
  return error ? { index, name, error } : { index, name, task };
}

function isFinished(batch: Batch): boolean {
  return batch.state === "FINISHED";
}

function pathOf(batch: Batch | string): string {
  return `/v1/batches/${encodeURIComponent(typeof batch === "string" ? batch : batch.batch_id)}`;
}
