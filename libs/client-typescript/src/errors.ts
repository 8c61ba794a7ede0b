// Why a call failed. No text contains the API's address or the API key.

import { ADVICE } from "./advice.js";
import type { Batch, Problem, Task } from "./types.js";

const TYPE_PREFIX = "urn:problem-type:spotter:";

/** Too many requests; and a server behind the API, or a proxy before it, that does not answer at the moment. */
const TEMPORARY = [429, 502, 503, 504];

/** Any error of this package. */
export class SpotterError extends Error {
  override name = "SpotterError";

  /** Whether the same request may succeed later without any change. */
  get isTemporary(): boolean {
    return false;
  }

  /** Whether the request may have been carried out all the same. */
  get isUncertain(): boolean {
    return false;
  }
}

/** What belongs to a problem besides its description. */
export interface About {
  /** Seconds after which the API asks its clients to try again. */
  retryAfter?: number | undefined;
  task?: Task | undefined;
  batch?: Batch | undefined;
}

/** The API refused the request, and says why (RFC 9457). */
export class ApiError extends SpotterError {
  override name = "ApiError";
  /** Seconds after which the API asks its clients to try again, if it says so. */
  readonly retryAfter: number | undefined;
  /** The task that the error is about, where the API sent it. */
  readonly task: Task | undefined;
  /** The batch as far as it was received, where the API sent it. */
  readonly batch: Batch | undefined;

  constructor(
    readonly problem: Problem,
    about: About = {},
  ) {
    super(textOf(problem));
    this.retryAfter = about.retryAfter;
    this.task = about.task;
    this.batch = about.batch;
  }

  /** The HTTP status. */
  get status(): number {
    return this.problem.status;
  }

  /** The kind of problem, as a URI. docs/errors.md lists all kinds. */
  get type(): string {
    return this.problem.type;
  }

  /** The last part of `type`, such as `too-large`. */
  get kind(): string {
    return kindOf(this.problem);
  }

  /** The kind in words. */
  get title(): string {
    return this.problem.title;
  }

  /** What was found and what was expected. */
  get detail(): string {
    return this.problem.detail;
  }

  /** What to do, as docs/errors.md says. */
  get advice(): string | undefined {
    return ADVICE[this.kind];
  }

  override get isTemporary(): boolean {
    return TEMPORARY.includes(this.status);
  }

  override get isUncertain(): boolean {
    // A part of a batch was received, and runs.
    return this.status === 502 || this.status === 504 || this.batch !== undefined;
  }
}

function kindOf({ type }: Problem): string {
  return type.startsWith(TYPE_PREFIX) ? type.slice(TYPE_PREFIX.length) : type;
}

function textOf(problem: Problem): string {
  const kind = kindOf(problem);
  const text = `${problem.detail} (${problem.status}, ${kind})`;
  const advice = ADVICE[kind];
  return advice === undefined ? text : `${text}; ${advice}`;
}

/** There was no answer, or only a part of one. The request may have been carried out. */
export class NoAnswerError extends SpotterError {
  override name = "NoAnswerError";

  override get isTemporary(): boolean {
    return true;
  }

  override get isUncertain(): boolean {
    return true;
  }
}

/** The answer is not one of a spotter API. */
export class UnexpectedAnswerError extends SpotterError {
  override name = "UnexpectedAnswerError";

  constructor(found: string) {
    super(`${found}; check that this is the address of a spotter API`);
  }
}

/** The task has ended without a result: it failed, expired or was cancelled. */
export class TaskFailedError extends SpotterError {
  override name = "TaskFailedError";

  constructor(readonly task: Task) {
    const reason = task.failure ? `: ${task.failure.message} (${task.failure.reason})` : "";
    super(`task ${task.task_id} of ${task.picture_name} ended as ${task.state}${reason}`);
  }
}

/** The task or batch has not ended in time. It goes on, and can be waited for again. */
export class WaitTimeoutError extends SpotterError {
  override name = "WaitTimeoutError";

  constructor(
    /** As it was last seen. */
    readonly unfinished: Task | Batch,
  ) {
    const id = "task_id" in unfinished ? `task ${unfinished.task_id}` : `batch ${unfinished.batch_id}`;
    super(`${id} is still ${unfinished.state}`);
  }
}

/** The error that an answer with this status and body means. */
export function errorOf(status: number, body: string, retryAfter: number | undefined): ApiError {
  // A proxy may answer with JSON of its own, with members of the same names.
  const answered = objectOf(body);
  const [task, batch] = [answered.task, answered.batch].map((about) => (isObject(about) ? about : undefined));
  const type = textIn(answered.type) ?? "about:blank";
  const title = textIn(answered.title) ?? `HTTP status ${status}`;
  // An API with too many connections, which has not read the request, says `error`.
  const words = textIn(answered.detail) ?? textIn(answered.error);
  const detail = words ?? `the API answered ${status} without an explanation`;
  const { errors } = answered as Partial<Problem>;
  const problem = { type, title, status, detail, ...(Array.isArray(errors) && { errors }) };
  return new ApiError(problem, { retryAfter, task: task as Task | undefined, batch: batch as Batch | undefined });
}

/** `value` if it is a text that says something. */
function textIn(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** The members of a JSON object; of anything else, none. */
function objectOf(text: string): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(text);
    return isObject(parsed) ? { ...parsed } : {};
  } catch {
    return {};
  }
}
