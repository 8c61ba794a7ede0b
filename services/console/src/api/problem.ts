// What to tell a person about an error.

import { ApiError, NoAnswerError } from "spotter-detection";
import { texts } from "../texts";

/** What happened, and what to do about it. */
export interface Explanation {
  what: string;
  advice: string;
}

export function explain(error: unknown): Explanation {
  if (error instanceof NoAnswerError) return { what: texts.problems.unreachable, advice: texts.advice.unreachable };
  if (!(error instanceof ApiError)) {
    const what = error instanceof Error ? error.message : String(error);
    return { what, advice: texts.advice.other };
  }
  const advice: Record<string, string> = texts.advice;
  return { what: error.detail, advice: advice[error.kind] ?? texts.advice.other };
}

/** Why a task has no result. */
export function explainFailure(reason: string, message: string): Explanation {
  const advice: Record<string, string> = texts.failureAdvice;
  return { what: message, advice: advice[reason] ?? texts.advice.other };
}
