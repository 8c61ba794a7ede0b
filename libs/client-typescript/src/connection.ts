// Requests to one API, each sent once.

import { type ApiError, NoAnswerError, UnexpectedAnswerError, errorOf } from "./errors.js";
import { type ServerEvent, eventsOf } from "./event-stream.js";
import { parsed } from "./json.js";
import { linesOf } from "./lines.js";
import type { Query } from "./parameters.js";
import { secondsOf } from "./retries.js";
import { Timer, unlessAborted } from "./time-limit.js";

/** The longest answer in bytes: a drawing as PNG. */
const LONGEST_ANSWER = 256 << 20;
/** The longest answer of an error, in bytes. */
const LONGEST_ERROR = 1 << 20;
/** How many seconds a stream may be silent. The API sends a comment every 15 seconds. */
const LONGEST_SILENCE = 45;
/** How many seconds a request may take in all, besides the time that the API holds its answer back. */
const REQUEST_TIMEOUT = 120;

export interface ApiRequest {
  method: "GET" | "POST" | "DELETE";
  path: string;
  query?: Query | undefined;
  headers?: Record<string, string>;
  body?: Blob | FormData | string;
  /** How many seconds it may take in all. Default: 120. */
  timeout?: number;
}

/** Options of a client. */
export interface ClientOptions {
  /** The API key, or a function that returns the one to send at the moment. */
  apiKey?: string | (() => string | null) | undefined;
  /** Headers for each request, such as a gateway requires. */
  headers?: Record<string, string> | undefined;
  /** How many seconds a request may take, besides the time that it waits for a task. Default: 120. */
  requestTimeout?: number | undefined;
  /** For how many seconds a request is retried while the API is busy or does not answer. Default: 120. */
  retryFor?: number | undefined;
  /**
   * Called where the API key is missing or wrong (401), with the key that was sent. Whether the request is to be sent again,
   * with the key that `apiKey` then returns: of a page that asks a person for it, or of a program that renews it. It is not
   * sent again with the same key.
   */
  onUnauthorized?: ((error: ApiError, sentWith: string | null) => Promise<boolean>) | undefined;
  /** What sends the requests. Default: `fetch`. */
  fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
}

/** What is called as a stream goes on. */
export interface StreamWatch {
  /** The API has answered with a stream. */
  onOpen?: () => void;
  /** Something has come, if only a comment. */
  onChunk?: () => void;
  /** Nothing follows `Last-Event-ID`. */
  onEnd?: () => void;
}

export class Connection {
  // Private also at run time, so that no log shows the API key.
  readonly #base: string;
  readonly #options: ClientOptions;

  constructor(url: string | URL, options: ClientOptions) {
    this.#base = checkedUrl(String(url));
    this.#options = options;
    if (typeof options.apiKey === "string") checkKey(options.apiKey);
  }

  /** The JSON that a request is answered with. */
  async json<T>(request: ApiRequest, signal?: AbortSignal): Promise<T> {
    return parsed<T>(new TextDecoder().decode(await this.#whole(request, signal)), "an answer");
  }

  /** The content that a request is answered with. */
  async content(request: ApiRequest, signal?: AbortSignal): Promise<Blob> {
    let type = "";
    const bytes = await this.#whole(request, signal, (answer) => (type = answer.headers.get("content-type") ?? ""));
    return new Blob([bytes], { type });
  }

  /** The lines of an answer, which may last for any time as long as it is not silent. */
  lines(request: ApiRequest, signal?: AbortSignal): AsyncGenerator<string> {
    return linesOf(this.#chunks(request, signal, () => undefined));
  }

  /** The events of a stream. */
  events(path: string, lastId: string, signal?: AbortSignal, watch: StreamWatch = {}): AsyncGenerator<ServerEvent> {
    const headers: Record<string, string> = { Accept: "text/event-stream" };
    if (lastId !== "") headers["Last-Event-ID"] = lastId;
    const check = (answer: Response) => {
      if (answer.status === 204) return watch.onEnd?.();
      const type = answer.headers.get("content-type")?.split(";")[0]?.trim();
      if (type !== "text/event-stream") throw new UnexpectedAnswerError("an answer that is no stream of events");
      watch.onOpen?.();
    };
    return eventsOf(linesOf(this.#chunks({ method: "GET", path, headers }, signal, check, watch.onChunk)));
  }

  /** The whole body of an answer of success. */
  async #whole(
    request: ApiRequest,
    signal?: AbortSignal,
    look?: (answer: Response) => void,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { timeout = this.#options.requestTimeout ?? REQUEST_TIMEOUT } = request;
    const timer = new Timer(timeout, signal);
    try {
      const answer = await this.#send(request, timer);
      look?.(answer);
      return await all(answer, LONGEST_ANSWER);
    } catch (error) {
      throw translated(error, timer, signal);
    } finally {
      timer.end();
    }
  }

  /** The body of an answer of success, as it comes. The connection is closed where the consumer stops early. */
  async *#chunks(
    request: ApiRequest,
    signal: AbortSignal | undefined,
    check: (answer: Response) => void,
    onChunk?: () => void,
  ): AsyncGenerator<Uint8Array> {
    const timer = new Timer(LONGEST_SILENCE, signal);
    try {
      const answer = await this.#send(request, timer);
      check(answer);
      for await (const chunk of chunksOf(answer)) {
        // A consumer that takes its time is no silence.
        timer.stop();
        onChunk?.();
        yield chunk;
        timer.restart();
      }
    } catch (error) {
      throw translated(error, timer, signal);
    } finally {
      timer.end();
    }
  }

  /** An answer of success, whose body is still to be read. Sends the request again where there is another API key. */
  async #send(request: ApiRequest, timer: Timer): Promise<Response> {
    for (;;) {
      const key = this.#key();
      const answer = await this.#sendWith(key, request, timer.signal);
      if (answer.ok) return answer;
      const error = await refusalOf(answer);
      if (error.status !== 401 || !mayBeRepeated(request, error)) throw error;
      if (!(await this.#hasNewKey(error, key, timer)) || this.#key() === key) throw error;
    }
  }

  /** Asks for another API key. Nobody is in a hurry while a person looks for it. */
  async #hasNewKey(error: ApiError, sentWith: string | null, timer: Timer): Promise<boolean> {
    const { onUnauthorized } = this.#options;
    if (!onUnauthorized) return false;
    timer.stop();
    const hasNewKey = await unlessAborted(onUnauthorized(error, sentWith), timer.signal);
    timer.restart();
    return hasNewKey;
  }

  /** The answer to one request, whatever its status. */
  async #sendWith(key: string | null, request: ApiRequest, signal: AbortSignal): Promise<Response> {
    const { method, path, query = [], body = null } = request;
    const headers = new Headers({ ...this.#options.headers, ...request.headers });
    if (key !== null) headers.set("Authorization", `Bearer ${key}`);
    const search = query.length === 0 ? "" : `?${new URLSearchParams(query)}`;
    const send = this.#options.fetch ?? fetch;
    const init: RequestInit = { method, headers, body, redirect: "manual", credentials: "omit", signal };
    const sending = send(`${this.#base}${path}${search}`, init);
    const answer = await ofNetwork(sending, () => checkReadable(body));
    if (answer.type === "opaqueredirect" || (answer.status >= 300 && answer.status < 400)) {
      throw new UnexpectedAnswerError("a redirect, as from http to https");
    }
    return answer;
  }

  #key(): string | null {
    const { apiKey } = this.#options;
    const key = (typeof apiKey === "function" ? apiKey() : apiKey) || null;
    if (key !== null) checkKey(key);
    return key;
  }
}

/** Refuses a key that no header can have. The error of `Headers` would show it. */
function checkKey(key: string): void {
  if (!/^[!-~]*$/.test(key)) {
    throw new TypeError("the API key has invalid characters; expected one as `spotter key create` prints it");
  }
}

/** An address without a slash at its end. The error does not show it: it may contain a password. */
function checkedUrl(text: string): string {
  const url = parsedUrl(text);
  const isHttp = url?.protocol === "http:" || url?.protocol === "https:";
  if (!url || !isHttp || url.username || url.password || url.search || url.hash) {
    throw new TypeError("url: expected an address such as http://127.0.0.1:5000");
  }
  // An empty query is none, but stays in `href`.
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "");
}

function parsedUrl(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}

/** Whether the request, which was refused for its API key, may be sent again: a batch of which a part was received may not. */
function mayBeRepeated({ headers = {} }: ApiRequest, error: ApiError): boolean {
  return error.batch === undefined || "Idempotency-Key" in headers;
}

/** Throws the error of a picture that cannot be read: its file is gone, or was changed since it was opened. */
async function checkReadable(body: BodyInit | null): Promise<void> {
  const parts = body instanceof FormData ? Array.from(body, ([, value]) => value) : [body];
  for (const part of parts) if (part instanceof Blob) await part.slice(0, 1).arrayBuffer();
}

/** What an error of the network means, unless `otherCause` throws. Its own text would show the address. */
function ofNetwork<T>(reading: Promise<T>, otherCause?: () => Promise<void>): Promise<T> {
  return reading.catch(async (error: unknown) => {
    await otherCause?.();
    const { code } = ((error as Error)?.cause ?? error) as { code?: unknown };
    const reason = typeof code === "string" ? ` (${code})` : "";
    throw new NoAnswerError(`the API does not answer${reason}`);
  });
}

/** What an error means to the caller: the reason of their own signal, or that the time is over. */
function translated(error: unknown, timer: Timer, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason;
  return timer.hasExpired ? new NoAnswerError("no complete answer in time") : error;
}

/** The error that an answer means. The status decides what happens next, also where the text is cut short or too long. */
async function refusalOf(answer: Response): Promise<ApiError> {
  const body = await all(answer, LONGEST_ERROR).then((bytes) => new TextDecoder().decode(bytes), () => "");
  return errorOf(answer.status, body, secondsOf(answer.headers.get("retry-after")));
}

async function* chunksOf(answer: Response): AsyncGenerator<Uint8Array> {
  const reader = answer.body?.getReader();
  if (!reader) return;
  try {
    for (;;) {
      const { done, value } = await ofNetwork(reader.read());
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** The whole body, within a limit. */
async function all(answer: Response, most: number): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunksOf(answer)) {
    length += chunk.length;
    if (length > most) throw new UnexpectedAnswerError(`an answer longer than ${most} bytes`);
    chunks.push(chunk);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
