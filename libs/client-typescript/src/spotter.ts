// The client.

import { Batches } from "./batches.js";
import { type Retrying, isCertainlyRefused, pagesOf, retried } from "./calls.js";
import { type ApiRequest, type ClientOptions, Connection } from "./connection.js";
import { ApiError, TaskFailedError, WaitTimeoutError } from "./errors.js";
import { follow } from "./follow.js";
import { parsed } from "./json.js";
import { type DetectManyOptions, type Outcome, outcomesOf } from "./many.js";
import { queryOf } from "./parameters.js";
import { type PictureSource, pictureOf } from "./pictures.js";
import { contentKey, requestOf, submissionOf } from "./submission.js";
import { LONGEST_HOLD, Limit } from "./time-limit.js";
import {
  type CallOptions,
  type DetectOptions,
  type Format,
  type ListParameters,
  type Model,
  type ModelList,
  type Operations,
  type SubmitOptions,
  type Task,
  type TaskList,
  type WaitOptions,
  isFinished,
} from "./types.js";

/** How many seconds a call goes on trying while the API is busy or does not answer. */
const RETRY_FOR = 120;
/** How many seconds `detect` and `wait` wait for the end of a task. */
const WAIT_FOR = 300;
const REQUEST_TIMEOUT = 120;
const PARALLEL = 8;

/** Something that has happened to a task, and the task as it is since then. */
export interface TaskEvent {
  /** `queued`, `started`, `retried`, and at the end one of `succeeded`, `failed`, `revoked` and `expired`. */
  kind: string;
  task: Task;
}

/** A client of one API. All times are seconds. */
export class Spotter {
  /** Many pictures in one request. */
  readonly batches: Batches;
  readonly #connection: Connection;
  readonly #retryFor: number;
  readonly #requestTimeout: number;

  /** `url` is the API's address, such as `http://127.0.0.1:5000`. Nothing is sent yet. */
  constructor(url: string | URL, options: ClientOptions = {}) {
    this.#connection = new Connection(url, options);
    this.#retryFor = options.retryFor ?? RETRY_FOR;
    this.#requestTimeout = options.requestTimeout ?? REQUEST_TIMEOUT;
    this.batches = new Batches(this.#connection, this.#retryFor);
  }

  /**
   * Submits a picture and waits for its objects. Throws a `TaskFailedError` if the task ends without a result, and a
   * `WaitTimeoutError` if it has not ended in time.
   */
  async detect(picture: PictureSource, options: DetectOptions = {}): Promise<Task> {
    const limit = new Limit(options.timeout ?? WAIT_FOR);
    const submitted = await this.#submit(picture, options, limit.hold(), this.#within(limit, options));
    const task = isFinished(submitted) ? submitted : await this.#wait(submitted, limit, options);
    if (task.state !== "SUCCESS") throw new TaskFailedError(task);
    return task;
  }

  /** Submits a picture, without waiting for its objects. */
  submit(picture: PictureSource, options: SubmitOptions = {}): Promise<Task> {
    return this.#submit(picture, options, options.wait ?? 0, this.#retrying(options));
  }

  /**
   * The outcomes of many pictures, in order, each as soon as it is there, also while the next picture is waited for;
   * `parallel` of them are in flight and in memory. A picture that fails does not
   * stop the others: its outcome has the error. An API that cannot be reached, or refuses the API key, stops all of them.
   *
   * Idempotency keys follow from the pictures, their names and the parameters. So a second call with the same `run`, after a
   * crash, gets the tasks of the first one, and runs nothing twice. Without `crypto.subtle`, as on a page of plain http and in
   * Node 18, a second call is another run.
   */
  async *detectMany<P extends PictureSource>(
    pictures: Iterable<P> | AsyncIterable<P>,
    options: DetectManyOptions = {},
  ): AsyncGenerator<Outcome<P>> {
    const { parallel = PARALLEL, run = "", signal, ...detection } = options;
    const { parameters } = submissionOf(detection, 0);
    // An error of the parameters would be one of each picture.
    queryOf(parameters);
    yield* outcomesOf(pictures, parallel, signal, async (picture, signal) => {
      const idempotencyKey = await contentKey(pictureOf(picture), parameters, run);
      return this.detect(picture, { ...detection, signal, idempotencyKey });
    });
  }

  /** A task as it is now. */
  task(task: Task | string, options: CallOptions = {}): Promise<Task> {
    return this.#json({ method: "GET", path: pathOf(task) }, options);
  }

  /**
   * Waits until a task has ended, in whatever state. Goes on where the API is away for a while. Throws a `WaitTimeoutError`
   * if it has not ended in time.
   */
  wait(task: Task | string, options: WaitOptions = {}): Promise<Task> {
    return this.#wait(task, new Limit(options.timeout ?? WAIT_FOR), options);
  }

  /** Cancels a task. A task that was cancelled before is no error; one that has ended otherwise is. */
  async cancel(task: Task | string, options: CallOptions = {}): Promise<Task> {
    try {
      return await this.#json({ method: "DELETE", path: pathOf(task) }, options);
    } catch (error) {
      // Cancelled before, for example by a request whose answer was lost.
      if (error instanceof ApiError && error.task?.state === "REVOKED") return error.task;
      throw error;
    }
  }

  /** The picture of a task that was submitted with `annotated`, with its objects drawn in by the worker. */
  image(task: Task | string, options: WaitOptions = {}): Promise<Blob> {
    return this.#content(`${pathOf(task)}/image`, {}, options);
  }

  /** The result of a task as a file of another tool, such as `csv`. Waits for the end of the task. */
  async result(task: Task | string, format: Format, options: WaitOptions = {}): Promise<string> {
    return (await this.#content(pathOf(task), { format }, options)).text();
  }

  /** Tasks, newest first, without their objects. Pages are requested as they are needed. */
  async *tasks(parameters: ListParameters = {}, options: CallOptions = {}): AsyncGenerator<Task> {
    const list = { path: "/v1/tasks", query: queryOf(parameters), ...this.#retrying(options) };
    for await (const page of pagesOf<TaskList>(this.#connection, list)) yield* page.tasks;
  }

  /** The events of a task, from its present state to its end. Reconnects where the connection is lost. */
  async *events(task: Task | string, options: CallOptions = {}): AsyncGenerator<TaskEvent> {
    const following = { path: `${pathOf(task)}/events`, isLast: isFinished, ...this.#retrying(options) };
    for await (const { kind, item } of follow<Task>(this.#connection, following)) yield { kind, task: item };
  }

  /** The models that can be asked. */
  async models(options: CallOptions = {}): Promise<Model[]> {
    const list = await this.#json<ModelList>({ method: "GET", path: "/v1/models" }, options);
    return list.models;
  }

  /** The state of the system about once a second, on one connection, until the API ends it. Needs the scope `admin`. */
  async *operations({ signal }: Pick<CallOptions, "signal"> = {}): AsyncGenerator<Operations> {
    for await (const event of this.#connection.events("/v1/operations/events", "", signal)) {
      if (event.name === "snapshot") yield parsed<Operations>(event.data, "an event");
    }
  }

  /** The JSON that any other route of the API answers with. The request is sent once. */
  json<T>(request: ApiRequest, { signal }: Pick<CallOptions, "signal"> = {}): Promise<T> {
    return this.#connection.json(request, signal);
  }

  /** The content that any other route of the API answers with. The request is sent once. */
  content(request: ApiRequest, { signal }: Pick<CallOptions, "signal"> = {}): Promise<Blob> {
    return this.#connection.content(request, signal);
  }

  async #submit(picture: PictureSource, options: SubmitOptions, hold: number, retrying: Retrying): Promise<Task> {
    const submission = submissionOf(options, hold);
    const request = requestOf(pictureOf(picture), submission);
    const again = { ...retrying, ...(!submission.isIdempotent && { mayPass: isCertainlyRefused }) };
    const attempt = () => {
      const longest = this.#requestTimeout + hold;
      const timeout = retrying.limit?.forRequest(longest) ?? longest;
      return this.#connection.json<Task>({ ...request, timeout }, options.signal);
    };
    return retried(attempt, again);
  }

  async #wait(task: Task | string, limit: Limit, options: CallOptions): Promise<Task> {
    for (;;) {
      const found = await this.#json<Task>(this.#held(pathOf(task), {}, limit), this.#within(limit, options));
      if (isFinished(found)) return found;
      if (limit.isOver) throw new WaitTimeoutError(found);
    }
  }

  /** What belongs to a task with a result: waits for it. */
  async #content(path: string, query: object, options: WaitOptions): Promise<Blob> {
    const limit = new Limit(options.timeout ?? WAIT_FOR);
    for (;;) {
      try {
        const request = this.#held(path, query, limit);
        return await retried(() => this.#connection.content(request, options.signal), this.#within(limit, options));
      } catch (error) {
        if (!(error instanceof ApiError) || error.kind !== "task-unfinished" || !error.task) throw error;
        if (limit.isOver) throw new WaitTimeoutError(error.task);
      }
    }
  }

  /** A request whose answer the API holds back. */
  #held(path: string, query: object, limit: Limit): ApiRequest {
    const wait = limit.hold();
    const timeout = limit.forRequest(this.#requestTimeout + LONGEST_HOLD);
    return { method: "GET", path, query: queryOf({ ...query, wait }), timeout };
  }

  #json<T>(request: ApiRequest, options: CallOptions): Promise<T> {
    return retried(() => this.#connection.json<T>(request, options.signal), this.#retrying(options));
  }

  #retrying({ retryFor = this.#retryFor, signal }: CallOptions) {
    return { retryFor, signal };
  }

  /** The same, within the time that the call may take. */
  #within(limit: Limit, options: CallOptions) {
    const { retryFor, signal } = this.#retrying(options);
    return { retryFor: limit.left(retryFor), signal, limit };
  }
}

function pathOf(task: Task | string): string {
  return `/v1/tasks/${encodeURIComponent(typeof task === "string" ? task : task.task_id)}`;
}
