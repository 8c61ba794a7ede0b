// The view of all tasks that the key may see, and of the newest batches: filters and pages.

import { useState } from "preact/hooks";
import { listTasks } from "../../api/tasks";
import { links, tasksLink } from "../../route";
import { texts } from "../../texts";
import { Failed } from "../failed";
import { useLoaded } from "../use-loaded";
import { Batches } from "./batches";
import { Filters } from "./filters";
import { TaskRow } from "./task-row";

const PAGE = 25;

export function Tasks({ filters }: { filters: URLSearchParams }) {
  const words = texts.tasks;
  const query = new URLSearchParams(filters);
  query.set("limit", String(PAGE));
  const { value, failure, isLoading, reload } = useLoaded(query.toString(), async function* (signal) {
    yield await listTasks(query, signal);
  });
  const [round, setRound] = useState(0);
  const reloadAll = () => {
    reload();
    setRound(round + 1);
  };
  const tasks = value?.tasks ?? [];
  const hasDrawings = tasks.some((task) => task.links.image);
  const older = new URLSearchParams(filters);
  if (value?.next) older.set("cursor", value.next);
  const newest = new URLSearchParams(filters);
  newest.delete("cursor");
  return (
    <main class="view">
      <div class="view-heading">
        <h2>{texts.views.tasks}</h2>
        <button type="button" onClick={reloadAll}>
          {words.reload}
        </button>
        <p class="live" role="status">
          {isLoading ? words.loading : failure ? "" : words.shown(tasks.length)}
        </p>
      </div>
      <Filters filters={filters} />
      <Batches round={round} />
      {failure && <Failed {...failure} />}
      {!failure && value && tasks.length === 0 && <p class="quiet empty">{words.none}</p>}
      <ul class={hasDrawings ? "tasks has-drawings" : "tasks"} aria-busy={isLoading} aria-label={texts.views.tasks}>
        {tasks.map((task) => (
          <TaskRow key={task.task_id} task={task} />
        ))}
      </ul>
      <nav class="pages" aria-label={words.pages}>
        {filters.has("cursor") && <a href={tasksLink(newest)}>{words.newest}</a>}
        {value?.next && <a href={tasksLink(older)}>{words.older}</a>}
        {filters.size > 0 && <a href={links.tasks}>{words.noFilters}</a>}
      </nav>
    </main>
  );
}
