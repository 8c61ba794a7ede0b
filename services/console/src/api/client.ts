// The client of the API that this page comes from.

import { Spotter } from "spotter-detection";
import { apiKey, askForKey } from "./key";

/** Nothing is retried unless the page says so: a person sees what is wrong, and that it is tried again. */
const ONCE = {
  retryFor: 0,
  // The API limits the time of an upload.
  requestTimeout: Infinity,
  fetch: (url: string, init: RequestInit) => fetch(url, { ...init, cache: "no-store" }),
};

/** For how many seconds a broken stream of events is opened again. */
export const REOPENED_FOR = 60;

/** Sends the API key if there is one. Where it is missing or wrong, asks for one and sends the request again. */
export const api = new Spotter(location.origin, {
  ...ONCE,
  apiKey: () => apiKey.value,
  onUnauthorized: async ({ detail }, sentWith) => {
    // Another request may have asked meanwhile.
    const isNew = apiKey.value !== sentWith && apiKey.value !== null;
    return isNew || askForKey(detail);
  },
});

/** A client with this key, or without one, which asks nobody. */
export function clientWith(key: string | null): Spotter {
  return new Spotter(location.origin, { ...ONCE, apiKey: key ?? undefined });
}

export function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return api.json<T>({ method: "GET", path }, { signal });
}

export function getContent(path: string, signal?: AbortSignal): Promise<Blob> {
  return api.content({ method: "GET", path }, { signal });
}
