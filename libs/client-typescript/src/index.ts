// The public face of the package.

export { type BatchEvent, type BatchResult, type Batches } from "./batches.js";
export type { ApiRequest, ClientOptions } from "./connection.js";
export {
  ApiError,
  NoAnswerError,
  SpotterError,
  TaskFailedError,
  UnexpectedAnswerError,
  WaitTimeoutError,
} from "./errors.js";
export type { DetectManyOptions, Outcome } from "./many.js";
export type { components, paths } from "./openapi.js";
export type { NamedPicture, PictureSource } from "./pictures.js";
export { Spotter, type TaskEvent } from "./spotter.js";
export { submitRequest } from "./submission.js";
export * from "./types.js";
