// What was found: the slider, the classes, the objects, and the ways to take it along.

import { signal } from "@preact/signals";
import { LEAST_CONFIDENCE, type FoundObject } from "../api/tasks";
import { percent } from "../format";
import { colourOf } from "../results/colours";
import {
  classCounts,
  confidence,
  hiddenClasses,
  hideAllBut,
  highlighted,
  showAllClasses,
  shownObjects,
  toggleClass,
} from "../results/shown";
import { pictures, selected } from "../pictures/list";
import { texts } from "../texts";
import { Downloads } from "./downloads";
import { Snippets } from "./snippets";
import { TilesChoice } from "./tiles-choice";

/** More are listed when they are asked for. */
const FIRST_LISTED = 60;

const listsAll = signal(false);

export function Results() {
  return (
    <section class="results" aria-label={texts.results.label}>
      <Confidence />
      <TilesChoice />
      <Classes />
      <Objects />
      <Downloads />
      {selected.value && <Snippets picture={selected.value} />}
    </section>
  );
}

function Confidence() {
  return (
    <div class="confidence">
      <label for="confidence">{texts.results.confidence}</label>
      <output for="confidence">{percent(confidence.value)}</output>
      <input
        id="confidence"
        type="range"
        min={LEAST_CONFIDENCE}
        max={0.95}
        step={0.01}
        value={confidence.value}
        onInput={({ currentTarget }) => (confidence.value = currentTarget.valueAsNumber)}
      />
    </div>
  );
}

function Classes() {
  const all = classCounts.value;
  const labels = all.map(({ label }) => label);
  const hasSeveral = pictures.value.length > 1;
  return (
    <div class="group">
      <div class="group-heading">
        <h3>{texts.results.classes}</h3>
        {hiddenClasses.value.size > 0 && (
          <button type="button" class="link" onClick={showAllClasses}>
            {texts.results.allClasses}
          </button>
        )}
      </div>
      <ul class="classes">
        {all.map(({ label, classId, here, everywhere }) => (
          <li key={label}>
            <label>
              <input type="checkbox" checked={!hiddenClasses.value.has(label)} onChange={() => toggleClass(label)} />
              <Swatch classId={classId} />
              <span class="class-name">{label}</span>
              <span class="count" title={texts.results.here}>
                {here}
              </span>
              {hasSeveral && (
                <span class="count is-total" title={texts.results.everywhere}>
                  {texts.results.of(everywhere)}
                </span>
              )}
            </label>
            <button type="button" class="link only" aria-label={texts.results.only(label)} onClick={() => hideAllBut(label, labels)}>
              {texts.results.onlyThis}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function Objects() {
  const all = shownObjects.value;
  const listed = listsAll.value ? all : all.slice(0, FIRST_LISTED);
  const isDone = selected.value?.state.value.kind === "done";
  return (
    <div class="group">
      <div class="group-heading">
        <h3>
          {texts.results.objects} <span class="count">{all.length}</span>
        </h3>
      </div>
      {all.length === 0 && <p class="quiet">{isDone ? texts.results.none : texts.results.notYet}</p>}
      <ul class="objects">
        {listed.map((object, index) => (
          <ObjectRow key={index} object={object} />
        ))}
      </ul>
      {listed.length < all.length && (
        <button type="button" class="link" onClick={() => (listsAll.value = true)}>
          {texts.results.more(all.length - listed.length)}
        </button>
      )}
    </div>
  );
}

function ObjectRow({ object }: { object: FoundObject }) {
  const show = () => (highlighted.value = object);
  const hide = () => (highlighted.value = null);
  const { x1, y1, x2, y2 } = object.bbox;
  const corners = [x1, y1, x2, y2].map(Math.round);
  return (
    <li>
      <button
        type="button"
        class={highlighted.value === object ? "object is-highlighted" : "object"}
        onPointerEnter={show}
        onPointerLeave={hide}
        onFocus={show}
        onBlur={hide}
      >
        <Swatch classId={object.class_id} />
        <span class="class-name">{object.label}</span>
        <span class="corners">{corners.join(", ")}</span>
        <span class="count">{object.confidence.toFixed(3)}</span>
      </button>
    </li>
  );
}

function Swatch({ classId }: { classId: number }) {
  return <span class="swatch" style={{ background: colourOf(classId) }} />;
}
