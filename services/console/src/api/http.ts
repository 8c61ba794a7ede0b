// Requests to the API that this page comes from.

import { apiKey, askForKey } from "./key";
import { ApiError } from "./problem";

/**
 * Sends a request, with the API key if there is one. Where the key is missing or wrong, asks for one and sends the request
 * again. Throws an `ApiError` for every answer that is no success.
 */
export async function request(path: string, options: RequestInit = {}): Promise<Response> {
  for (;;) {
    const sentWith = apiKey.value;
    const answer = await send(path, options, sentWith);
    if (answer.ok) return answer;
    const error = await ApiError.of(answer);
    if (error.status !== 401) throw error;
    // Another request may have asked meanwhile.
    const isNew = apiKey.value !== sentWith && apiKey.value !== null;
    if (!isNew && !(await askForKey(error.message))) throw error;
  }
}

/** The answer to one request, whatever its status. */
export async function send(path: string, options: RequestInit, key: string | null): Promise<Response> {
  const headers = new Headers(options.headers);
  if (key !== null) headers.set("Authorization", `Bearer ${key}`);
  try {
    return await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw ApiError.unreachable();
  }
}

/** Waits, unless `signal` is aborted, which throws. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
    if (signal.aborted) reject(signal.reason);
  });
}
