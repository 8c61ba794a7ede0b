// Server-sent events read by `fetch`: an `EventSource` cannot send an API key.

export interface ServerEvent {
  id: string;
  name: string;
  data: string;
}

/** The events of a response, as the WHATWG defines their text. Comments and times to reconnect are passed over. */
export async function* eventsOf(answer: Response): AsyncGenerator<ServerEvent> {
  if (!answer.body) return;
  let [text, id, name, data] = ["", "", "", [] as string[]];
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const lines = text.split(/\r\n|\n|\r(?!$)/);
      text = lines.pop() ?? "";
      for (const line of lines) {
        const [, field, content] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
        if (line === "") {
          if (data.length > 0) yield { id, name, data: data.join("\n") };
          [name, data] = ["", []];
        } else if (field === "id") id = content ?? "";
        else if (field === "event") name = content ?? "";
        else if (field === "data") data.push(content ?? "");
      }
    }
  } finally {
    // Also where the consumer stops early.
    await reader.cancel().catch(() => undefined);
  }
}
