// Pictures from the person: files, folders, the clipboard, and what is dropped.

import { showNotice } from "../notice";
import { texts } from "../texts";
import { add } from "./list";

const EXTENSIONS = /\.(jpe?g|jpe|jfif|png|webp|bmp|gif)$/i;

type Given = { content: Blob; name: string };

/** Adds those of the files that are pictures. A single file is always sent: the API says what is wrong with it. */
export function take(files: Given[]): void {
  const isPicture = ({ content, name }: Given) => content.type.startsWith("image/") || EXTENSIONS.test(name);
  const found = files.length === 1 ? files : files.filter(isPicture);
  if (found.length < files.length) showNotice(texts.intake.leftOut(files.length - found.length));
  const byName = new Intl.Collator("en", { numeric: true });
  add(found.sort((one, other) => byName.compare(one.name, other.name)));
}

export function takeFiles(files: Iterable<File>): void {
  take(Array.from(files, named));
}

/** A file with its path within the folder that was chosen. */
function named(file: File): Given {
  return { content: file, name: file.webkitRelativePath || file.name };
}

/** What was dropped, with all files of dropped folders. */
export async function takeDropped(transfer: DataTransfer): Promise<void> {
  // Entries must be taken before anything is awaited: the browser empties the transfer then.
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const files = Array.from(transfer.files);
  if (entries.length === 0) return takeFiles(files);
  const found = await Promise.all(entries.map(filesOf));
  take(found.flat());
}

async function filesOf(entry: FileSystemEntry): Promise<Given[]> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) =>
      (entry as FileSystemFileEntry).file(resolve, reject),
    );
    return [{ content: file, name: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: Given[] = [];
  // Each call reads some entries, and the last one none.
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (entries.length === 0) return found;
    for (const inside of entries) found.push(...(await filesOf(inside)));
  }
}

/** Takes the pictures of the clipboard, and says how many files it had. */
export function takePasted(event: ClipboardEvent): number {
  const files = Array.from(event.clipboardData?.files ?? []);
  if (files.length === 0) return 0;
  event.preventDefault();
  takeFiles(files);
  return files.length;
}
