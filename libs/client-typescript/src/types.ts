// What the API sends and takes, by names of its own. Objects are the API's JSON as it is.

import type { components, paths } from "./openapi.js";

type Schemas = components["schemas"];

export type Task = Schemas["Task"];
export type TaskList = Schemas["TaskList"];
export type FoundObject = Schemas["FoundObject"];
export type Corners = Schemas["Corners"];
export type Failure = Schemas["Failure"];
export type Timings = Schemas["Timings"];
export type State = Schemas["State"];
export type Priority = Schemas["Priority"];
export type Batch = Schemas["Batch"];
export type BatchList = Schemas["BatchList"];
export type Refused = Schemas["Refused"];
export type Model = Schemas["Model"];
export type ModelList = Schemas["ModelList"];
export type Operations = Schemas["OperationsSnapshot"];
export type Problem = Schemas["Problem"];

/** A parameter's name in camelCase: `max_detections` is `maxDetections`. */
type Camel<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : Name;

type InCamelCase<Query> = { [Name in keyof Query as Camel<Name & string>]?: Query[Name] | undefined };

type SubmitQuery = NonNullable<paths["/v1/tasks"]["post"]["parameters"]["query"]>;
type ListQuery = NonNullable<paths["/v1/tasks"]["get"]["parameters"]["query"]>;

/** How a picture is to be processed. */
export interface SubmitParameters extends InCamelCase<Omit<SubmitQuery, "metadata" | "annotated">> {
  /** A JSON object of at most 1 KiB, which is shown wherever the task is. */
  metadata?: object | undefined;
  /** Whether to keep the picture with the detected objects drawn in, as long as the result. Such a task is always run. */
  annotated?: "jpeg" | "png" | "webp" | undefined;
}

/** Which tasks to list. */
export interface ListParameters extends InCamelCase<Omit<ListQuery, "cursor" | "submitted_after" | "submitted_before">> {
  /** Tasks submitted at this time or later. */
  submittedAfter?: Date | string | undefined;
  /** Tasks submitted before this time. */
  submittedBefore?: Date | string | undefined;
}

/** `no-cache`: run the model also where the result for this picture is known. `no-store`: that, and do not keep it. */
export type CacheControl = "no-cache" | "no-store";

/** A format of other tools: docs/formats.md describes them. */
export type Format = "coco" | "csv" | "yolo" | "yolo-conf" | "voc";

/** Options of every call. */
export interface CallOptions {
  /** Ends the call. The task goes on, unless `cancel` cancels it. */
  signal?: AbortSignal | undefined;
  /** For how many seconds the call is retried while the API is busy or does not answer. Default: the client's. */
  retryFor?: number | undefined;
}

export interface WaitOptions extends CallOptions {
  /** How many seconds to wait for the end, 300 by default. `Infinity`: without a limit. */
  timeout?: number | undefined;
}

/** Options of a submission that are not parameters of the picture's run. */
export interface SubmissionOptions extends SubmitParameters, CallOptions {
  /**
   * The same key with the same picture and parameters is the same task. Default: a new one. `null`: none, and so no retry
   * after a lost connection.
   */
  idempotencyKey?: string | null | undefined;
  /** Whether the known result for this picture will do. */
  cacheControl?: CacheControl | undefined;
}

export interface SubmitOptions extends SubmissionOptions {
  /** For how many seconds the API may hold its answer back, until the task has ended. Default: not at all. */
  wait?: number | undefined;
}

export type DetectOptions = SubmissionOptions & WaitOptions;

/** Whether a task will not change any more. A state that only a newer API knows is taken for terminal. */
export function isFinished(task: Task): boolean {
  return task.state !== "QUEUED" && task.state !== "STARTED";
}
