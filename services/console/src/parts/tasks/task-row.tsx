// A task of the list.

import { type Task, annotatedPicture } from "../../api/tasks";
import { dayAndClock, milliseconds, secondsBetween } from "../../format";
import { links } from "../../route";
import { texts } from "../../texts";
import { Thumbnail } from "../thumbnail";

export function TaskRow({ task }: { task: Task }) {
  const { task_id, submitted_at, batch, links: paths } = task;
  const name = nameOf(task);
  const image = paths.image;
  return (
    <li class="task">
      <span class="task-drawn">
        {image && (
          <Thumbnail of={task_id} load={(signal) => annotatedPicture(image, signal)} alt={texts.tasks.drawing(name)} />
        )}
      </span>
      <div class="task-text">
        <a class="task-name" href={links.task(task_id)}>
          {name}
        </a>
        <p class="quiet">{facts(task)}</p>
        {task.failure && <p class="task-failure">{task.failure.message}</p>}
      </div>
      <p class="task-side">
        <StateBadge state={task.state} />
        <time class="quiet number" dateTime={submitted_at}>
          {dayAndClock(submitted_at)}
        </time>
        {batch && (
          <a class="quiet" href={links.batch(batch.batch_id)}>
            {texts.tasks.inBatch(batch.index)}
          </a>
        )}
      </p>
    </li>
  );
}

/** Clients need not name their pictures. */
export function nameOf({ picture_name }: Task): string {
  return picture_name || texts.tasks.unnamed;
}

export function StateBadge({ state }: { state: Task["state"] }) {
  const kinds: Partial<Record<Task["state"], string>> = { SUCCESS: "done", FAILURE: "failed", EXPIRED: "failed", STARTED: "started" };
  return (
    <span class="badge" data-state={kinds[state] ?? "waiting"}>
      {texts.tasks.states[state]}
    </span>
  );
}

/** Model, objects, size and time. */
function facts({ model, object_count, objects, width, height, submitted_at, finished_at }: Task): string {
  const found = object_count ?? objects?.length;
  const took = finished_at && milliseconds(secondsBetween(submitted_at, finished_at) * 1000);
  const size = width !== undefined && `${width} × ${height}`;
  return [model, found !== undefined && texts.list.objects(found), size, took].filter(Boolean).join(" · ");
}
