// What the API key may be used for. The API has no route that says so: a request that changes nothing shows it.

import { signal } from "@preact/signals";
import { send } from "./http";

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
  const read = await send(`/v1/tasks/${NO_TASK}`, {}, key);
  if (read.status === 401) return false;
  // Without a picture: refused for that where the key may submit.
  const submit = await send("/v1/tasks", { method: "POST" }, key);
  const admin = await send("/v1/dead-letters?limit=1", {}, key);
  scopes.value = { read: read.status !== 403, submit: submit.status !== 403, admin: admin.status !== 403 };
  return true;
}
