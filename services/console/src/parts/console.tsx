// The whole page: its views, and what all of them have in common.

import { useEffect, useRef } from "preact/hooks";
import { signal } from "@preact/signals";
import { readModels } from "../api/models";
import { showFailure } from "../notice";
import { keepStored, restore } from "../pictures/list";
import { takeDropped, takePasted } from "../pictures/intake";
import { type Route, goTo, links, route } from "../route";
import { texts } from "../texts";
import { ConfirmDialog } from "./confirm-dialog";
import { Header } from "./header";
import { Notice } from "./intake";
import { KeyDialog } from "./key-dialog";
import { Operations } from "./operations/operations";
import { BatchView } from "./tasks/batch";
import { TaskView } from "./tasks/task";
import { Tasks } from "./tasks/tasks";
import { TryIt } from "./try-it";

/** Whether something is dragged over the page. */
const isDraggedOver = signal(false);

export function Console() {
  useEffect(() => {
    void restore().then(keepStored);
    void readModels();
    const onPaste = (event: ClipboardEvent) => {
      if (takePasted(event) > 0) goTo(links.try);
    };
    document.addEventListener("paste", onPaste);
    return () => document.removeEventListener("paste", onPaste);
  }, []);
  useTitleAndFocus(route.value);
  return (
    <div
      class="page"
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
        if (!event.dataTransfer) return;
        takeDropped(event.dataTransfer).catch(showFailure);
        goTo(links.try);
      }}
    >
      <Header />
      <View route={route.value} />
      <Notice />
      {isDraggedOver.value && <div class="drop-hint">{texts.intake.dropNow}</div>}
      <ConfirmDialog />
      <KeyDialog />
    </div>
  );
}

function View({ route }: { route: Route }) {
  switch (route.view) {
    case "try":
      return <TryIt />;
    case "operations":
      return <Operations />;
    case "tasks":
      return <Tasks filters={route.filters} />;
    case "task":
      return <TaskView key={route.id} id={route.id} />;
    case "batch":
      return <BatchView key={route.id} id={route.id} />;
  }
}

/** Names the view in the title; after a change of the view, its heading has the focus, as on a page that was loaded. */
function useTitleAndFocus(route: Route): void {
  const isFirst = useRef(true);
  const id = "id" in route ? route.id : "";
  useEffect(() => {
    document.title = route.view === "try" ? texts.title : `${texts.views[route.view]} · ${texts.title}`;
    if (!isFirst.current) focusHeading();
    isFirst.current = false;
  }, [route.view, id]);
}

function focusHeading(): void {
  const heading = document.querySelector<HTMLElement>("main h2");
  if (!heading) return;
  heading.tabIndex = -1;
  heading.focus();
}
