// What a reload needs to go on: the list in the session storage, the pictures' bytes in IndexedDB. Both are the browser's
// own; they are deleted when the list is cleared, and bytes of closed tabs after a day.

import type { Submission } from "../api/tasks";

const LIST = "spotter.pictures";
const DATABASE = "spotter-console";
const CONTENTS = "contents";
const KEPT_FOR_MS = 24 * 3600 * 1000;

/** A picture of the list, as it is stored. */
export interface StoredPicture {
  id: string;
  submission: Submission;
  taskId: string | null;
  /** Whether it was cancelled: then it is not submitted again. */
  isCancelled: boolean;
}

interface StoredContent {
  content: Blob;
  storedAt: number;
}

export function storeList(list: StoredPicture[]): void {
  try {
    sessionStorage.setItem(LIST, JSON.stringify(list));
  } catch {
    // No room: a reload will not go on, and nothing else is affected.
  }
}

export function readList(): StoredPicture[] {
  try {
    return JSON.parse(sessionStorage.getItem(LIST) ?? "[]");
  } catch {
    return [];
  }
}

/** How many pictures are stored in one transaction: all of them or none. */
const AT_A_TIME = 32;

/** Stores the bytes of pictures, by their ids. A transaction for each would take seconds for a folder. */
export async function storeContents(contents: [id: string, content: Blob][]): Promise<void> {
  const storedAt = Date.now();
  for (let from = 0; from < contents.length; from += AT_A_TIME) {
    await inStore("readwrite", (store) => {
      const some = contents.slice(from, from + AT_A_TIME);
      const puts = some.map(([id, content]) => store.put({ content, storedAt } satisfies StoredContent, id));
      return puts[puts.length - 1] as IDBRequest<IDBValidKey>;
    });
  }
}

export async function readContent(id: string): Promise<Blob | null> {
  const entry: StoredContent | undefined = await inStore("readonly", (store) => store.get(id));
  return entry?.content ?? null;
}

export async function deleteContents(ids: string[]): Promise<void> {
  for (const id of ids) await inStore("readwrite", (store) => store.delete(id));
}

/** Deletes what tabs have left that were closed. */
export async function deleteOldContents(): Promise<void> {
  const ids: IDBValidKey[] | undefined = await inStore("readonly", (store) => store.getAllKeys());
  for (const id of ids ?? []) {
    const entry: StoredContent | undefined = await inStore("readonly", (store) => store.get(id));
    const isOld = entry && entry.storedAt < Date.now() - KEPT_FOR_MS;
    if (isOld) await inStore("readwrite", (store) => store.delete(id));
  }
}

let opened: Promise<IDBDatabase> | null = null;

function database(): Promise<IDBDatabase> {
  opened ??= new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(CONTENTS);
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  return opened;
}

/** One request to the store; `undefined` where the browser has none, or no room in it. */
async function inStore<T>(
  mode: IDBTransactionMode,
  ask: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T | undefined> {
  try {
    const store = (await database()).transaction(CONTENTS, mode).objectStore(CONTENTS);
    return await new Promise<T>((resolve, reject) => {
      const asked = ask(store);
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => reject(asked.error);
    });
  } catch {
    return undefined;
  }
}
