// The view for operators: what the system does, live.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { apiKey } from "../../api/key";
import { clock } from "../../format";
import { connection, latest, watch } from "../../operations/live";
import { texts } from "../../texts";
import { Failed } from "../failed";
import { keyPanelIsOpen } from "../key-dialog";
import { DeadLetters, Webhooks } from "./dead-letters";
import { Figures } from "./figures";
import { Plots } from "./plots";
import { Cache, Classes, Refusals } from "./totals";
import { Apis, Workers } from "./workers";

export function Operations() {
  const tries = useSignal(0);
  useEffect(() => {
    const left = new AbortController();
    void watch(left.signal);
    return () => left.abort();
  }, [apiKey.value, tries.value]);
  const state = connection.value;
  return (
    <main class="view">
      <div class="view-heading">
        <h2>{texts.views.operations}</h2>
        <Live />
      </div>
      {state.kind === "refused" ? (
        <Refused onRetry={() => tries.value++} />
      ) : (
        <>
          <Figures />
          <Plots />
          {/* Their heights are known with the first snapshot. */}
          {latest.value && <Panels />}
        </>
      )}
    </main>
  );
}

function Panels() {
  return (
    <div class="panels">
      <div class="panels-wide">
        <Workers />
        <DeadLetters />
        <Webhooks />
      </div>
      <div class="panels-narrow">
        <Classes />
        <Refusals />
        <Cache />
        <Apis />
      </div>
    </div>
  );
}

/** Whether the figures are those of now. It keeps its place, so that the page does not jump when the stream is lost. */
function Live() {
  const state = connection.value;
  const at = latest.value?.at;
  const reason = state.kind === "lost" ? ` ${state.explanation.what} ${texts.operations.tryingAgain}` : "";
  return (
    <p class="live" data-state={state.kind}>
      <span role="status">
        <strong>{texts.operations.connection[state.kind]}</strong>
        {reason}
      </span>
      <span class="quiet">{at && texts.operations.asOf(clock(at))}</span>
    </p>
  );
}

function Refused({ onRetry }: { onRetry: () => void }) {
  const state = connection.value;
  if (state.kind !== "refused") return null;
  const isKey = state.problem === "scope-missing" || apiKey.value !== null;
  return (
    <>
      <Failed {...(state.problem === "scope-missing" ? texts.operations.adminMissing : state.explanation)} />
      <div class="buttons">
        {isKey && (
          <button type="button" class="primary" onClick={() => (keyPanelIsOpen.value = true)}>
            {texts.key.button}
          </button>
        )}
        <button type="button" onClick={onRetry}>
          {texts.operations.retry}
        </button>
      </div>
    </>
  );
}
