// What a caller may pass as a picture, and how it is sent.

/**
 * A picture: the bytes of a file, a `Blob` or `File`, or an `https` URL that the API fetches. In Node, `pictureFile` of
 * `spotter-detection/node` is that of a path.
 */
export type PictureSource = Blob | ArrayBuffer | ArrayBufferView | URL | string | NamedPicture;

/** The content of a picture, and the file name that its task shows. */
export interface NamedPicture {
  content: Blob | ArrayBuffer | ArrayBufferView;
  name: string;
}

/** The bytes of a picture. */
export interface Upload {
  content: Blob;
  name: string;
}

/** A picture that the API fetches. Its URL may contain a token, and is not shown. */
export interface Remote {
  url: string;
}

export type Picture = Upload | Remote;

/** Reads nothing: the content of a file is read as it is sent. */
export function pictureOf(source: PictureSource): Picture {
  if (typeof source === "string" || source instanceof URL) return { url: checkedUrl(String(source)) };
  if (isContent(source)) return uploadOf(source, nameOf(source));
  if (typeof source === "object" && source !== null && isContent(source.content) && typeof source.name === "string") {
    return uploadOf(source.content, source.name);
  }
  throw new TypeError("not a picture: expected a Blob, bytes, an https URL, or { content, name }");
}

function uploadOf(content: Blob | ArrayBuffer | ArrayBufferView, name: string): Upload {
  return { content: content instanceof Blob ? content : new Blob([content as ArrayBuffer]), name: name || "picture" };
}

function isContent(value: unknown): value is Blob | ArrayBuffer | ArrayBufferView {
  return value instanceof Blob || value instanceof ArrayBuffer || ArrayBuffer.isView(value);
}

/** The name of a `File`. */
function nameOf(content: object): string {
  return "name" in content && typeof content.name === "string" ? content.name : "";
}

/** A text that is no URL is most likely a path, which only `spotter-detection/node` reads. */
function checkedUrl(text: string): string {
  if (/^https?:\/\//i.test(text)) return text;
  throw new TypeError("not a picture: expected an https URL; for a path, use pictureFile of spotter-detection/node");
}
