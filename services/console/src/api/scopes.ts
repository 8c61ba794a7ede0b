// What the API key may be used for. The API has no route that says so: a request that changes nothing shows it.

import { signal } from "@preact/signals";
import { ApiError } from "spotter-detection";
import { clientWith } from "./client";

export interface Scopes {
  submit: boolean;
  read: boolean;
  /** Everything, also of other keys. */
  admin: boolean;
}

/** `null` where there is no key, or its scopes are not known. */
export const scopes = signal<Scopes | null>(null);

/** An id that no task has. */
const NO_TASK = "00000000-0000-0000-0000-000000000000";

/** Whether a key can be used at all; if so, `scopes` is set. */
export async function checkKey(key: string): Promise<boolean> {
  const client = clientWith(key);
  const status = (method: "GET" | "POST", path: string) => client.content({ method, path }).then(() => 200, statusOf);
  const read = await status("GET", `/v1/tasks/${NO_TASK}`);
  if (read === 401) return false;
  // Without a picture: refused for that where the key may submit.
  const submit = await status("POST", "/v1/tasks");
  const admin = await status("GET", "/v1/dead-letters?limit=1");
  scopes.value = { read: read !== 403, submit: submit !== 403, admin: admin !== 403 };
  return true;
}

function statusOf(error: unknown): number {
  if (error instanceof ApiError) return error.status;
  throw error;
}
