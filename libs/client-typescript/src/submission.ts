// A picture, and how it is to be processed, as a request.

import type { ApiRequest } from "./connection.js";
import { queryOf } from "./parameters.js";
import type { Picture } from "./pictures.js";
import type { SubmitOptions, SubmitParameters } from "./types.js";

/** Path and headers of the request that submits a picture: its bytes are the whole body. */
export function submitRequest(
  picture: { name: string; mediaType: string },
  parameters: SubmitParameters,
): { path: string; headers: [name: string, value: string][] } {
  const query = String(new URLSearchParams(queryOf(parameters)));
  return {
    path: query === "" ? "/v1/tasks" : `/v1/tasks?${query}`,
    headers: Object.entries(headersOf(picture.name, picture.mediaType)),
  };
}

/** The request that submits a picture. */
export function requestOf(picture: Picture, options: Submission): ApiRequest {
  const { parameters, headers } = options;
  const query = queryOf(parameters);
  const common = { method: "POST", path: "/v1/tasks", query } as const;
  if ("url" in picture) {
    const body = JSON.stringify({ url: picture.url });
    return { ...common, headers: { ...headers, "Content-Type": "application/json" }, body };
  }
  const { name, content } = picture;
  return { ...common, headers: { ...headers, ...headersOf(name, content.type) }, body: content };
}

/** The options of a submission, as they are sent. */
export interface Submission {
  parameters: SubmitParameters;
  headers: Record<string, string>;
  /** Whether it can be sent again after a lost connection, and is the same task or batch. */
  isIdempotent: boolean;
}

/** Divides options into parameters and headers. `wait` is for how many seconds the API may hold its answer back. */
export function submissionOf(options: SubmitOptions & { timeout?: number | undefined }, wait: number): Submission {
  const { idempotencyKey = newKey(), cacheControl, ...rest } = options;
  const { signal: _signal, retryFor: _retryFor, timeout: _timeout, wait: _wait, ...parameters } = rest;
  const headers: Record<string, string> = {};
  if (idempotencyKey !== null) headers["Idempotency-Key"] = idempotencyKey;
  if (cacheControl !== undefined) headers["Cache-Control"] = cacheControl;
  if (wait > 0) headers.Prefer = `wait=${Math.ceil(wait)}`;
  return { parameters, headers, isIdempotent: idempotencyKey !== null };
}

function headersOf(name: string, mediaType: string): Record<string, string> {
  return {
    "Content-Type": mediaType.startsWith("image/") ? mediaType : "application/octet-stream",
    "Content-Disposition": `attachment; filename*=UTF-8''${encoded(name)}`,
  };
}

/** A text in a parameter of a header (RFC 8187). A half of a surrogate pair, which no header can have, becomes U+FFFD. */
function encoded(text: string): string {
  const hex = (character: string) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  const whole = new TextDecoder().decode(new TextEncoder().encode(text));
  return encodeURIComponent(whole).replace(/['()*!]/g, hex);
}

/** An idempotency key for one call: its retries are the same task. */
function newKey(): string {
  const numbers = new Uint32Array(4);
  // Node 18 has no global `crypto`. The key only has to differ from other keys.
  if (globalThis.crypto) crypto.getRandomValues(numbers);
  else numbers.forEach((_, index) => (numbers[index] = Math.random() * 2 ** 32));
  return Array.from(numbers, (number) => number.toString(16).padStart(8, "0")).join("");
}

/**
 * An idempotency key for a picture in a run: the same content, name, parameters and run have the same key. `undefined`
 * where there is no `crypto.subtle`: on a page of plain http, and in Node 18.
 */
export async function contentKey(picture: Picture, parameters: object, run: string): Promise<string | undefined> {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return undefined;
  const encoder = new TextEncoder();
  const content = "url" in picture ? encoder.encode(picture.url) : await picture.content.arrayBuffer();
  const name = "url" in picture ? "" : picture.name;
  const digest = new Uint8Array(await subtle.digest("SHA-256", content));
  const parts = [encoder.encode(run), encoder.encode(name), digest, encoder.encode(JSON.stringify(queryOf(parameters)))];
  const lengths = new BigUint64Array(parts.map((part) => BigInt(part.length)));
  const all = await new Blob([lengths, ...parts]).arrayBuffer();
  const bytes = new Uint8Array(await subtle.digest("SHA-256", all));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
