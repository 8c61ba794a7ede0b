// The shown objects as files.

import { signal } from "@preact/signals";
import type { Task } from "../api/tasks";
import { showFailure } from "../notice";
import { pictures, selected } from "../pictures/list";
import { download, stem, taskAsYolo, tasksAsCoco, tasksAsJson } from "../results/files";
import { shownOf } from "../results/shown";
import { zipOf } from "../results/zip";
import { texts } from "../texts";
import { annotated } from "../viewer/draw";

/** Of which pictures the files are. */
const range = signal<"one" | "all">("one");

export function Downloads() {
  const finished = pictures.value.flatMap(({ state }) => (state.value.kind === "done" ? [state.value.task] : []));
  const picture = selected.value;
  const state = picture?.state.value;
  const shown = state?.kind === "done" ? [state.task] : [];
  const tasks = range.value === "all" && finished.length > 1 ? finished : shown;
  const [first] = tasks;
  const name = tasks.length === 1 && first ? stem(first.picture_name) : "spotter";
  return (
    <div class="group">
      <div class="group-heading">
        <h3>{texts.files.label}</h3>
        {finished.length > 1 && (
          <select
            aria-label={texts.files.of}
            value={range.value}
            onChange={({ currentTarget }) => (range.value = currentTarget.value === "all" ? "all" : "one")}
          >
            <option value="one">{texts.files.one}</option>
            <option value="all">{texts.files.all}</option>
          </select>
        )}
      </div>
      <div class="buttons">
        <button type="button" disabled={!first} onClick={() => download(`${name}.json`, tasksAsJson(tasks))}>
          {texts.files.json}
        </button>
        <button type="button" disabled={!first} onClick={() => download(`${name}.coco.json`, tasksAsCoco(tasks))}>
          {texts.files.coco}
        </button>
        <button type="button" disabled={!first} onClick={() => downloadYolo(name, tasks)}>
          {texts.files.yolo}
        </button>
        <button
          type="button"
          disabled={shown.length === 0 || !picture?.content}
          onClick={() => {
            if (!picture?.content) return;
            const file = `${stem(picture.submission.name)}.boxes.png`;
            const drawing = annotated(picture.content, shownOf(shown[0]?.objects ?? []));
            void drawing.then((drawn) => download(file, drawn)).catch(showFailure);
          }}
        >
          {texts.files.picture}
        </button>
      </div>
    </div>
  );
}

/** A text for one picture; for several an archive with a text for each. */
function downloadYolo(name: string, tasks: Task[]): void {
  const texts = tasks.map((task) => ({ name: `${stem(task.picture_name)}.txt`, text: taskAsYolo(task) }));
  if (texts.length === 1 && texts[0]) download(texts[0].name, texts[0].text);
  else download(`${name}.yolo.zip`, zipOf(texts));
}
