// A zip archive of small texts, stored without compression (APPNOTE.TXT 6.3.10).

const LOCAL_HEADER = 0x04034b50;
const DIRECTORY_ENTRY = 0x02014b50;
const END_OF_DIRECTORY = 0x06054b50;
const VERSION = 20;
/** Names are UTF-8. */
const UTF8 = 1 << 11;
/** 1 January 1980, the first day that the format knows. */
const NO_DATE = 0x0021;

export function zipOf(files: { name: string; text: string }[]): Blob {
  const encoder = new TextEncoder();
  const [contents, directory] = [[] as BlobPart[], [] as BlobPart[]];
  let [offset, directorySize] = [0, 0];
  for (const { name, text } of files) {
    const [nameBytes, bytes] = [encoder.encode(name), encoder.encode(text)];
    const checked = crc32(bytes);
    // What both headers have in common, from the version to the length of extra fields.
    const shared = [
      [2, VERSION], [2, UTF8], [2, 0], [2, 0], [2, NO_DATE],
      [4, checked], [4, bytes.length], [4, bytes.length], [2, nameBytes.length], [2, 0],
    ] as Field[];
    const header = fields([[4, LOCAL_HEADER], ...shared]);
    const entry = fields([
      [4, DIRECTORY_ENTRY], [2, VERSION], ...shared, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset],
    ]);
    contents.push(header, nameBytes, bytes);
    directory.push(entry, nameBytes);
    offset += header.length + nameBytes.length + bytes.length;
    directorySize += entry.length + nameBytes.length;
  }
  const end = fields([
    [4, END_OF_DIRECTORY], [2, 0], [2, 0], [2, files.length], [2, files.length],
    [4, directorySize], [4, offset], [2, 0],
  ]);
  return new Blob([...contents, ...directory, end], { type: "application/zip" });
}

/** Size in bytes, and value. */
type Field = [2 | 4, number];

function fields(all: Field[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(all.reduce((sum, [size]) => sum + size, 0));
  const data = new DataView(bytes.buffer);
  let at = 0;
  for (const [size, value] of all) {
    if (size === 2) data.setUint16(at, value, true);
    else data.setUint32(at, value, true);
    at += size;
  }
  return bytes;
}

/** CRC-32 of ISO 3309, bit by bit: the texts are small. */
function crc32(bytes: Uint8Array): number {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return (sum ^ 0xffffffff) >>> 0;
}
