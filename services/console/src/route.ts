// Which view the page shows. It is in the fragment of the address, so reload and the browser's buttons work, and the API
// has one page to serve.

import { computed, signal } from "@preact/signals";

export type Route =
  | { view: "try" }
  | { view: "operations" }
  | { view: "tasks"; filters: URLSearchParams }
  | { view: "task"; id: string }
  | { view: "batch"; id: string };

function routeOf(fragment: string): Route {
  const [path = "", query = ""] = fragment.replace(/^#?\/?/, "").split("?");
  const [view, id] = path.split("/").map(decoded);
  if (view === "operations") return { view };
  if (view === "tasks") return id ? { view: "task", id } : { view, filters: new URLSearchParams(query) };
  if (view === "batches" && id) return { view: "batch", id };
  return { view: "try" };
}

/** A part of an address that a person may have typed. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const fragment = signal(location.hash);

window.addEventListener("hashchange", () => (fragment.value = location.hash));

export const route = computed(() => routeOf(fragment.value));

export const links = {
  try: "#/",
  operations: "#/operations",
  tasks: "#/tasks",
  task: (id: string) => `#/tasks/${encodeURIComponent(id)}`,
  batch: (id: string) => `#/batches/${encodeURIComponent(id)}`,
};

export function tasksLink(filters: URLSearchParams): string {
  const query = filters.toString();
  return query ? `${links.tasks}?${query}` : links.tasks;
}

export function goTo(link: string): void {
  location.hash = link;
}
