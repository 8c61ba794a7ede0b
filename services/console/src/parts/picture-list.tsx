// The list of pictures, each with its state as it changes.

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Picture, PictureState } from "../pictures/picture";
import { cancelAll, clear, counts, pictures, select, selectBy, selected } from "../pictures/list";
import { shownOf } from "../results/shown";
import { camera, stopCamera } from "../camera/camera";
import { showFailure } from "../notice";
import { texts } from "../texts";
import { IntakeButtons } from "./intake";

export function PictureList() {
  const { all, done, failed, open } = counts.value;
  const onKeyDown = (event: KeyboardEvent) => {
    const places: Record<string, number> = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
    const step = places[event.key];
    if (step === undefined) return;
    event.preventDefault();
    selectBy(step);
  };
  return (
    <section class="list" aria-label={texts.list.label}>
      <IntakeButtons />
      {all > 0 && (
        <>
          <div class="list-progress">
            <span role="status">{texts.list.progress({ all, done, failed })}</span>
            <progress aria-label={texts.list.label} max={all} value={all - open} />
            {open > 0 ? (
              <button type="button" class="link" onClick={() => void cancelAll().catch(showFailure)}>
                {texts.list.cancelAll}
              </button>
            ) : (
              <button type="button" class="link" onClick={clear}>
                {texts.list.clear}
              </button>
            )}
          </div>
          <ul class="pictures" onKeyDown={onKeyDown}>
            {pictures.value.map((picture) => (
              <Row key={picture.id} picture={picture} />
            ))}
          </ul>
        </>
      )}
    </section>
  );
}

function Row({ picture }: { picture: Picture }) {
  const button = useRef<HTMLButtonElement>(null);
  const isUnreadable = useSignal(false);
  const state = picture.state.value;
  const isSelected = selected.value === picture && camera.value.kind === "off";
  useEffect(() => {
    if (!isSelected) return;
    button.current?.scrollIntoView({ block: "nearest", inline: "nearest" });
    // The focus goes along with the selection by arrow keys.
    if (button.current?.closest("ul")?.contains(document.activeElement)) button.current.focus();
  }, [isSelected]);
  return (
    <li>
      <button
        ref={button}
        type="button"
        class="picture"
        aria-pressed={isSelected}
        data-state={state.kind}
        onClick={() => {
          stopCamera();
          select(picture);
        }}
      >
        {picture.url && !isUnreadable.value ? (
          <img src={picture.url} alt="" loading="lazy" decoding="async" onError={() => (isUnreadable.value = true)} />
        ) : (
          <span class="no-thumbnail" />
        )}
        <span class="picture-name">{picture.submission.name}</span>
        <span class="picture-state">{described(state)}</span>
      </button>
    </li>
  );
}

function described(state: PictureState): string {
  if (state.kind === "done") return texts.list.objects(shownOf(state.task.objects ?? []).length);
  if (state.kind === "waiting" && state.note) return state.note;
  return texts.states[state.kind];
}
