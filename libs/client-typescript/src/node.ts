// Pictures from files, for Node, Deno and Bun.

import * as fs from "node:fs";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import type { NamedPicture } from "./pictures.js";

/** The picture in a file. Its bytes are read as they are sent; before Node 19.8, at once. */
export async function pictureFile(path: string | URL): Promise<NamedPicture> {
  const file = path instanceof URL ? fileURLToPath(path) : path;
  const content = "openAsBlob" in fs ? await fs.openAsBlob(file) : new Blob([new Uint8Array(await readFile(file))]);
  return { content, name: basename(file) };
}
