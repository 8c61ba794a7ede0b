// The request that was made for a picture, as a program would make it.

import { submitRequest, type Submission } from "../api/tasks";

export const LANGUAGES = ["curl", "Python", "JavaScript"] as const;
export type Language = (typeof LANGUAGES)[number];

/** What a snippet needs to know. */
export interface Sent {
  /** Scheme, host and port of the API. */
  base: string;
  submission: Submission;
  /** The task that the page's request made, if it has been made. */
  taskId: string | null;
  /** Whether the API wants a key: the snippet then reads it from the environment, and does not contain it. */
  withKey: boolean;
}

const KEY_VARIABLE = "SPOTTER_API_KEY";

/** The request of the submission with the same parameters, headers and body, and the request of its result. */
export function snippet(language: Language, sent: Sent): string {
  const parts = { ...submitRequest(sent.submission), ...sent, file: fileName(sent.submission.name) };
  switch (language) {
    case "curl":
      return curl(parts);
    case "Python":
      return python(parts);
    case "JavaScript":
      return javaScript(parts);
  }
}

interface Parts extends Sent {
  path: string;
  headers: [string, string][];
  file: string;
}

/** The name without the folders that were chosen with it. */
function fileName(name: string): string {
  return name.split("/").pop() || "picture";
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function curl({ base, path, headers, file, taskId, withKey }: Parts): string {
  const key = withKey ? ` \\\n  -H "Authorization: Bearer $${KEY_VARIABLE}"` : "";
  const lines = headers.map(([name, value]) => `  -H "${name}: ${value}" \\`);
  return [
    `curl ${quoted(base + path)}${key} \\`,
    ...lines,
    `  --data-binary ${quoted(`@${file}`)}`,
    `curl ${quoted(`${base}/v1/tasks/${taskId ?? "TASK_ID"}?wait=30`)}${key}`,
  ].join("\n");
}

function python({ base, path, headers, file, withKey }: Parts): string {
  const key = withKey ? `    "Authorization": "Bearer " + os.environ["${KEY_VARIABLE}"],\n` : "";
  const lines = headers.map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)},`);
  return `import json${withKey ? ", os" : ""}
from urllib.request import Request, urlopen

base = ${JSON.stringify(base)}
headers = {
${key}${lines.join("\n")}
}
picture = open(${JSON.stringify(file)}, "rb").read()
submit = Request(base + ${JSON.stringify(path)}, picture, headers)
task = json.load(urlopen(submit))
result = Request(base + task["links"]["self"] + "?wait=30"${withKey ? ", headers=headers" : ""})
print(json.load(urlopen(result)))`;
}

function javaScript({ base, path, headers, file, withKey }: Parts): string {
  const key = withKey ? `  Authorization: \`Bearer \${process.env.${KEY_VARIABLE}}\`,\n` : "";
  const lines = headers.map(([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value)},`);
  return `import { readFile } from "node:fs/promises";

const base = ${JSON.stringify(base)};
const headers = {
${key}${lines.join("\n")}
};
const body = await readFile(${JSON.stringify(file)});
const submit = await fetch(base + ${JSON.stringify(path)}, { method: "POST", headers, body });
const task = await submit.json();
const result = await fetch(base + task.links.self + "?wait=30"${withKey ? ", { headers }" : ""});
console.log(await result.json());`;
}
