// Why something failed, and what to do.

import type { Explanation } from "../api/problem";

export function Failed({ what, advice }: Explanation) {
  return (
    <div class="failed" role="alert">
      <p>{what}</p>
      <p>{advice}</p>
    </div>
  );
}
