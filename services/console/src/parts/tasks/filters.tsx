// Which tasks are listed. The filters are part of the page's address: a reload keeps them, and they can be sent to others.

import { models } from "../../api/models";
import type { Task } from "../../api/tasks";
import { goTo, tasksLink } from "../../route";
import { texts } from "../../texts";

const STATES: Task["state"][] = ["QUEUED", "STARTED", "SUCCESS", "FAILURE", "REVOKED", "EXPIRED"];

export function Filters({ filters }: { filters: URLSearchParams }) {
  const words = texts.tasks.filters;
  /** Shows the first page of the tasks with these values of a parameter. */
  const change = (name: string, values: string[]) => {
    const changed = new URLSearchParams(filters);
    changed.delete("cursor");
    changed.delete(name);
    for (const value of values) if (value) changed.append(name, value);
    goTo(tasksLink(changed));
  };
  const chosen = filters.getAll("state");
  const model = filters.get("model") ?? "";
  const names = models.value.map(({ name }) => name);
  // A model that is no longer listed, but has tasks.
  if (model && !names.includes(model)) names.push(model);
  return (
    <form class="filters" aria-label={words.label} onSubmit={(event) => event.preventDefault()}>
      <fieldset>
        <legend>{words.state}</legend>
        {STATES.map((state) => (
          <label key={state} class="check">
            <input
              type="checkbox"
              checked={chosen.includes(state)}
              onChange={({ currentTarget }) =>
                change("state", currentTarget.checked ? [...chosen, state] : chosen.filter((one) => one !== state))
              }
            />
            {texts.tasks.states[state]}
          </label>
        ))}
      </fieldset>
      <label class="field">
        <span>{words.model}</span>
        <select value={model} onChange={({ currentTarget }) => change("model", [currentTarget.value])}>
          <option value="">{words.everyModel}</option>
          {names.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <Time label={words.after} time={filters.get("submitted_after")} onChange={(time) => change("submitted_after", [time])} />
      <Time label={words.before} time={filters.get("submitted_before")} onChange={(time) => change("submitted_before", [time])} />
    </form>
  );
}

/** A time in the API's form, which the person sees as their own. */
function Time({ label, time, onChange }: { label: string; time: string | null; onChange: (time: string) => void }) {
  return (
    <label class="field">
      <span>{label}</span>
      <input
        type="datetime-local"
        value={time ? localTime(new Date(time)) : ""}
        onChange={({ currentTarget: { value } }) => onChange(value ? new Date(value).toISOString() : "")}
      />
    </label>
  );
}

/** `2026-01-31T09:30`, which inputs of times want, in the browser's time zone. */
function localTime(date: Date): string {
  const local = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return Number.isNaN(local.getTime()) ? "" : local.toISOString().slice(0, 16);
}
