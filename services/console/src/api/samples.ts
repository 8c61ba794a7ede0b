// The sample pictures of this installation.

import { send } from "./http";
import { ApiError } from "./problem";

/** Their names; none where none are installed. */
export async function sampleNames(): Promise<string[]> {
  const answer = await send("/samples", {}, null);
  if (!answer.ok) return [];
  const { samples }: { samples: string[] } = await answer.json();
  return samples;
}

export function sampleUrl(name: string): string {
  return `/samples/${encodeURIComponent(name)}`;
}

export async function sampleFile(name: string): Promise<File> {
  const answer = await send(sampleUrl(name), {}, null);
  if (!answer.ok) throw await ApiError.of(answer);
  const bytes = await answer.blob();
  return new File([bytes], name, { type: bytes.type });
}
