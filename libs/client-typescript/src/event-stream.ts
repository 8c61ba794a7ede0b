// Server-sent events, as the WHATWG defines their text. `EventSource` cannot send an API key.

import { UnexpectedAnswerError } from "./errors.js";

/** The longest data of an event, in characters. */
const LONGEST_DATA = 16 << 20;

export interface ServerEvent {
  /** The last id that was sent, with this event or before it. */
  id: string;
  name: string;
  data: string;
  /** Seconds after which the server asks its clients to connect again, if it has said so. */
  retry: number | undefined;
}

/** The events of a stream of lines. An event that has no data, or is not complete at the end, is left out. */
export async function* eventsOf(lines: AsyncIterable<string>): AsyncGenerator<ServerEvent> {
  const parser = new EventParser();
  for await (const line of lines) {
    const event = parser.push(line);
    if (event) yield event;
  }
}

/** Makes events of lines. */
export class EventParser {
  #id = "";
  #name = "";
  #data: string[] = [];
  #length = 0;
  #retry: number | undefined;

  /** The event that ends with this line. */
  push(line: string): ServerEvent | undefined {
    if (line === "") return this.#end();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    // A comment has an empty name, and is passed over as unknown names are.
    if (field === "event") this.#name = value;
    else if (field === "data") this.#add(value);
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.#retry = Number(value) / 1000;
    return undefined;
  }

  #add(data: string): void {
    this.#length += data.length + 1;
    if (this.#length > LONGEST_DATA) {
      throw new UnexpectedAnswerError(`an event of more than ${LONGEST_DATA} characters`);
    }
    this.#data.push(data);
  }

  #end(): ServerEvent | undefined {
    const [name, data] = [this.#name, this.#data];
    [this.#name, this.#data, this.#length] = ["", [], 0];
    if (data.length === 0) return undefined;
    return { id: this.#id, name: name || "message", data: data.join("\n"), retry: this.#retry };
  }
}
