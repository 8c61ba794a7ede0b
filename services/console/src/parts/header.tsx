// The top of the page: its views, the model, the API key, and the way to the documentation.

import { apiKey, question } from "../api/key";
import { type Model, chosenModel, models } from "../api/models";
import { type Route, links, route } from "../route";
import { texts } from "../texts";
import { keyPanelIsOpen } from "./key-dialog";

/** The views that can be chosen, each with those that belong to it. */
const VIEWS: { name: "try" | "operations" | "tasks"; link: string; views: Route["view"][] }[] = [
  { name: "try", link: links.try, views: ["try"] },
  { name: "operations", link: links.operations, views: ["operations"] },
  { name: "tasks", link: links.tasks, views: ["tasks", "task", "batch"] },
];

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
      <nav class="views" aria-label={texts.nav.views}>
        {VIEWS.map(({ name, link, views }) => (
          <a key={name} href={link} aria-current={views.includes(route.value.view) ? "page" : undefined}>
            {texts.views[name]}
          </a>
        ))}
      </nav>
      {route.value.view === "try" && models.value.length > 0 && <ModelPicker />}
      <div class="header-end">
        {(apiKey.value !== null || question.value !== null) && (
          <button type="button" class="link" onClick={() => (keyPanelIsOpen.value = true)}>
            {texts.key.button}
          </button>
        )}
        <a href="/docs">{texts.nav.docs}</a>
      </div>
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
        <option value="">{texts.models.default(models.value.find((model) => model.default)?.name)}</option>
        {models.value.map((model) => (
          <option key={model.name} value={model.name}>
            {described(model)}
          </option>
        ))}
      </select>
    </label>
  );
}

/** Name, speed and licence, and whether its jobs would wait. */
function described({ name, latency, licence, served }: Model): string {
  const speed = latency === undefined ? [] : [texts.models.speed(latency.mean_ms)];
  const workers = served ? [] : [texts.models.notServed];
  return [name, ...speed, licence ?? texts.models.noLicence, ...workers].join(" · ");
}
