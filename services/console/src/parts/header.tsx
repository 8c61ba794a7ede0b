// The top of the page: model, API key, and the way to the documentation.

import { apiKey, question } from "../api/key";
import { type Model, chosenModel, models } from "../api/models";
import { texts } from "../texts";
import { keyPanelIsOpen } from "./key-dialog";

export function Header() {
  return (
    <header class="header">
      <h1 class="brand">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <path d="M8 13V8h5M19 8h5v5M24 19v5h-5M13 24H8v-5" />
          <circle cx="16" cy="16" r="3.2" />
        </svg>
        {texts.title}
      </h1>
      {models.value.length > 0 && <ModelPicker />}
      <nav class="nav" aria-label={texts.nav.label}>
        {(apiKey.value !== null || question.value !== null) && (
          <button type="button" class="link" onClick={() => (keyPanelIsOpen.value = true)}>
            {texts.key.button}
          </button>
        )}
        <a href="/docs">{texts.nav.docs}</a>
      </nav>
    </header>
  );
}

function ModelPicker() {
  return (
    <label class="models">
      <span>{texts.models.label}</span>
      <select
        value={chosenModel.value ?? ""}
        onChange={({ currentTarget: { value } }) => (chosenModel.value = value || null)}
      >
        <option value="">{texts.models.default}</option>
        {models.value.map((model) => (
          <option key={model.name} value={model.name}>
            {described(model)}
          </option>
        ))}
      </select>
    </label>
  );
}

/** Name, speed and licence. */
function described({ name, latency, licence }: Model): string {
  const speed = latency === undefined ? [] : [texts.models.speed(latency.mean_ms)];
  return [name, ...speed, licence ?? texts.models.noLicence].join(" · ");
}
