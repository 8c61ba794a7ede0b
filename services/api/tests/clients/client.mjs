// Node's fetch: sends each request given on the command line, and writes a line with the status or
// the error for each. Arguments: a picture's path, then URL, content and size for each request.
import { readFileSync } from "node:fs";

if (typeof fetch === "undefined") {
  console.error("SKIPPED: this Node has no fetch");
  process.exit(2);
}
const [picture, ...requests] = process.argv.slice(2);
const start = readFileSync(picture);

function body(content, size) {
  const filler = new Uint8Array(size);
  if (content === "text") {
    return { body: filler.fill(32), headers: { "content-type": "text/plain" } };
  }
  const [what, name] = content.split(":");
  if (what === "picture") filler.set(start);
  const form = new FormData();
  form.append("file", new Blob([filler]), name);
  return { body: form };
}

while (requests.length > 0) {
  const [url, content, size] = requests.splice(0, 3);
  try {
    const answer = await fetch(url, { method: "POST", ...body(content, Number(size)) });
    await answer.text();
    console.log(answer.status);
  } catch (error) {
    console.log(`${error.message}: ${error.cause?.code ?? error.cause}`);
  }
}
