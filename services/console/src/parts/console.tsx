// The whole page.

import { useEffect } from "preact/hooks";
import { signal } from "@preact/signals";
import { readModels } from "../api/models";
import { camera } from "../camera/camera";
import { showFailure } from "../notice";
import { keepStored, pictures, restore } from "../pictures/list";
import { takeDropped, takePasted } from "../pictures/intake";
import { texts } from "../texts";
import { Viewer } from "../viewer/viewer";
import { Header } from "./header";
import { Intake, Notice } from "./intake";
import { KeyDialog } from "./key-dialog";
import { PictureBar } from "./picture-bar";
import { PictureList } from "./picture-list";
import { Results } from "./results";

/** Whether something is dragged over the page. */
const isDraggedOver = signal(false);

export function Console() {
  useEffect(() => {
    void restore().then(keepStored);
    void readModels();
    document.addEventListener("paste", takePasted);
    return () => document.removeEventListener("paste", takePasted);
  }, []);
  const isEmpty = pictures.value.length === 0 && camera.value.kind === "off";
  return (
    <div
      class={isEmpty ? "page is-empty" : "page"}
      onDragOver={(event) => {
        event.preventDefault();
        isDraggedOver.value = true;
      }}
      onDragLeave={(event) => {
        // Not from one element of the page to another.
        if (!event.relatedTarget) isDraggedOver.value = false;
      }}
      onDrop={(event) => {
        event.preventDefault();
        isDraggedOver.value = false;
        if (event.dataTransfer) takeDropped(event.dataTransfer).catch(showFailure);
      }}
    >
      <Header />
      {isEmpty ? (
        <main class="start">
          <Intake />
        </main>
      ) : (
        <main class="work">
          <PictureList />
          <section class="stage" aria-label={texts.picture.region}>
            <PictureBar />
            <Viewer />
          </section>
          <Results />
        </main>
      )}
      <Notice />
      {isDraggedOver.value && <div class="drop-hint">{texts.intake.dropNow}</div>}
      <KeyDialog />
    </div>
  );
}
