// Whether the system asks for a dark page. What a canvas shows does not follow the style sheet by itself.

import { signal } from "@preact/signals";

const query = matchMedia("(prefers-color-scheme: dark)");

export const isDark = signal(query.matches);

query.addEventListener("change", () => (isDark.value = query.matches));
