// The sample pictures of this installation.

import { ApiError } from "spotter-detection";
import { clientWith } from "./client";

const anonymous = clientWith(null);

/** Their names; none where none are installed. */
export async function sampleNames(): Promise<string[]> {
  try {
    const { samples } = await anonymous.json<{ samples: string[] }>({ method: "GET", path: "/samples" });
    return samples;
  } catch (error) {
    if (error instanceof ApiError) return [];
    throw error;
  }
}

export function sampleUrl(name: string): string {
  return `/samples/${encodeURIComponent(name)}`;
}

export async function sampleFile(name: string): Promise<File> {
  const bytes = await anonymous.content({ method: "GET", path: sampleUrl(name) });
  return new File([bytes], name, { type: bytes.type });
}
