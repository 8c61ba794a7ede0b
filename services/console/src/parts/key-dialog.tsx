// Asks for the API key, and shows what the key may be used for.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { apiKey, closeQuestion, forgetKey, giveKey, publicPart, question } from "../api/key";
import { explain } from "../api/problem";
import { checkKey, scopes } from "../api/scopes";
import { texts } from "../texts";
import { useModal } from "./use-modal";

/** Whether it is open without a question of the server's. */
export const keyPanelIsOpen = signal(false);

const refusal = signal<string | null>(null);

export function KeyDialog() {
  const modal = useModal(question.value !== null || keyPanelIsOpen.value, close);
  // A key of the session storage is checked too.
  useEffect(() => {
    if (apiKey.value !== null) void checkKey(apiKey.value).catch(() => undefined);
  }, []);
  return (
    <dialog {...modal} class="dialog" aria-labelledby="key-heading">
      <h2 id="key-heading">{question.value === null ? texts.key.button : texts.key.heading}</h2>
      {question.value === null && apiKey.value !== null ? <KnownKey of={apiKey.value} /> : <KeyForm />}
    </dialog>
  );
}

function close(): void {
  keyPanelIsOpen.value = false;
  refusal.value = null;
  closeQuestion();
}

function KeyForm() {
  const onSubmit = async (event: SubmitEvent) => {
    event.preventDefault();
    const given = new FormData(event.currentTarget as HTMLFormElement);
    const key = String(given.get("key")).trim();
    try {
      const isAccepted = await checkKey(key);
      refusal.value = isAccepted ? null : texts.key.refused;
      if (!isAccepted) return;
      giveKey(key, given.has("keep") ? "keep" : "forget");
      keyPanelIsOpen.value = false;
    } catch (error) {
      refusal.value = explain(error).what;
    }
  };
  return (
    <form onSubmit={(event) => void onSubmit(event)}>
      <label for="key">{texts.key.label}</label>
      <input
        id="key"
        name="key"
        type="password"
        autocomplete="off"
        spellcheck={false}
        required
        aria-describedby="key-note key-refusal"
      />
      <p id="key-refusal" class="error-note" role="alert">
        {refusal.value}
      </p>
      <label class="check">
        <input type="checkbox" name="keep" />
        {texts.key.keep}
      </label>
      <p id="key-note" class="quiet">
        {texts.key.kept}
      </p>
      <div class="buttons">
        <button type="submit" class="primary">
          {texts.key.use}
        </button>
        <button type="button" onClick={close}>
          {texts.key.cancel}
        </button>
      </div>
    </form>
  );
}

function KnownKey({ of }: { of: string }) {
  const known = scopes.value;
  return (
    <>
      <p>{texts.key.known(publicPart(of))}</p>
      {known && (
        <ul>
          <li>{known.submit ? texts.key.submits : texts.key.submitsNot}</li>
          <li>{known.read ? texts.key.reads : texts.key.readsNot}</li>
          <li>{known.admin ? texts.key.operates : texts.key.operatesNot}</li>
        </ul>
      )}
      <div class="buttons">
        <button type="button" class="primary" onClick={close}>
          {texts.key.close}
        </button>
        <button
          type="button"
          onClick={() => {
            forgetKey();
            scopes.value = null;
            close();
          }}
        >
          {texts.key.forget}
        </button>
      </div>
    </>
  );
}
