// The lines of an answer, as they come.

import { UnexpectedAnswerError } from "./errors.js";

/** The longest line, in characters. A task with 1,000 objects has a hundredth of it. */
const LONGEST_LINE = 16 << 20;

/** Splits text that arrives in pieces into lines, which end with LF, CRLF or CR. */
export class LineSplitter {
  #unfinished = "";
  #endedWithCr = false;

  /** The lines that end in `text`, without their ends. */
  push(text: string): string[] {
    // The end of a line may be cut in two.
    const rest = this.#endedWithCr && text.startsWith("\n") ? text.slice(1) : text;
    if (text !== "") this.#endedWithCr = text.endsWith("\r");
    const lines = rest.split(/\r\n|\n|\r/);
    lines[0] = this.#unfinished + lines[0];
    this.#unfinished = lines.pop() ?? "";
    if (this.#unfinished.length > LONGEST_LINE) {
      throw new UnexpectedAnswerError(`a line of more than ${LONGEST_LINE} characters`);
    }
    return lines;
  }
}

/** The lines of an answer whose bytes come as `chunks`. A last line that has no end is left out: it was cut off. */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const splitter = new LineSplitter();
  for await (const chunk of chunks) yield* splitter.push(decoder.decode(chunk, { stream: true }));
}
