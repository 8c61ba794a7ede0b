// Errors of the API, and what to tell a person about them.

import type { components } from "./openapi";
import { texts } from "../texts";

export type Problem = components["schemas"]["Problem"];

const PREFIX = "urn:problem-type:spotter:";

/** A request that the API has refused, or that did not reach it. */
export class ApiError extends Error {
  constructor(
    /** The last part of the problem's type, such as `queue-full`. */
    readonly kind: string,
    readonly status: number,
    detail: string,
    /** Seconds to wait, where the API says so. */
    readonly retryAfter: number | null,
  ) {
    super(detail);
  }

  static async of(answer: Response): Promise<ApiError> {
    const problem: Partial<Problem> = await answer.json().catch(() => ({}));
    const kind = problem.type?.startsWith(PREFIX) ? problem.type.slice(PREFIX.length) : "other";
    const seconds = Number(answer.headers.get("retry-after") ?? "");
    const detail = problem.detail ?? `${answer.status} ${answer.statusText}`;
    return new ApiError(kind, answer.status, detail, seconds > 0 ? seconds : null);
  }

  /** The API cannot be reached. */
  static unreachable(): ApiError {
    return new ApiError("unreachable", 0, texts.problems.unreachable, null);
  }

  /** Whether the same request may succeed later without any change. */
  get isTemporary(): boolean {
    return this.status === 0 || this.status === 429 || this.status === 503;
  }
}

/** What happened, and what to do about it. */
export interface Explanation {
  what: string;
  advice: string;
}

export function explain(error: unknown): Explanation {
  if (!(error instanceof ApiError)) {
    return { what: String(error), advice: texts.advice.other };
  }
  const advice: Record<string, string> = texts.advice;
  return { what: error.message, advice: advice[error.kind] ?? texts.advice.other };
}

/** Why a task has no result. */
export function explainFailure(reason: string, message: string): Explanation {
  const advice: Record<string, string> = texts.failureAdvice;
  return { what: message, advice: advice[reason] ?? texts.advice.other };
}
