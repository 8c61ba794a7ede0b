// JSON of the API.

import { UnexpectedAnswerError } from "./errors.js";

/** `text` as JSON. `what` it is, is told where it is none. */
export function parsed<T>(text: string, what: string): T {
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new UnexpectedAnswerError(`${what} that is no JSON`);
  }
}
