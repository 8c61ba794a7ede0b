// The request of the selected picture as code.

import { signal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { apiKey } from "../api/key";
import { type Picture, taskIdOf } from "../pictures/picture";
import { LANGUAGES, type Language, snippet } from "../results/snippets";
import { texts } from "../texts";

const COPIED_FOR_MS = 1500;

const language = signal<Language>("curl");
const isCopied = signal(false);

export function Snippets({ picture }: { picture: Picture }) {
  const code = useRef<HTMLPreElement>(null);
  const text = snippet(language.value, {
    base: location.origin,
    submission: picture.submission,
    taskId: taskIdOf(picture.state.value),
    withKey: apiKey.value !== null,
  });
  return (
    <div class="group">
      <div class="group-heading">
        <h3 id="snippets-heading">{texts.snippets.label}</h3>
        <button type="button" class="link" onClick={() => void copy(text, code.current)}>
          {isCopied.value ? texts.snippets.copied : texts.snippets.copy}
        </button>
      </div>
      <div class="choices" role="radiogroup" aria-labelledby="snippets-heading">
        {LANGUAGES.map((one) => (
          <label key={one}>
            <input type="radio" name="language" checked={language.value === one} onChange={() => (language.value = one)} />
            {one}
          </label>
        ))}
      </div>
      <pre ref={code} class="code" tabIndex={0} role="region" aria-label={texts.snippets.code}>
        {text}
      </pre>
    </div>
  );
}

async function copy(text: string, shown: HTMLElement | null): Promise<void> {
  // Browsers have the clipboard on `https` and on localhost only. Elsewhere the text is selected.
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    isCopied.value = true;
    setTimeout(() => (isCopied.value = false), COPIED_FOR_MS);
  } else if (shown) getSelection()?.selectAllChildren(shown);
}
