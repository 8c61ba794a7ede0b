// A part of the view with a heading, and tables in it.

import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { texts } from "../../texts";

interface PanelProperties {
  title: string;
  /** What it shows; absent where the API does not know it. */
  items: readonly unknown[] | undefined;
  /** What an empty list means. */
  none: string;
  /** What it means that the API does not know it. */
  unknown?: string;
  children: ComponentChildren;
}

export function Panel({ title, items, none, unknown = texts.operations.unknown, children }: PanelProperties) {
  const heading = useId();
  const isThere = items !== undefined && items.length > 0;
  const reason = items === undefined ? unknown : none;
  return (
    <section class="panel" aria-labelledby={heading}>
      <h3 id={heading}>{title}</h3>
      {isThere ? children : <p class="quiet">{reason}</p>}
    </section>
  );
}

export interface Column {
  name: string;
  isNumber?: boolean;
}

/** A table that scrolls by itself where it is wider than the page. */
export function Table({ label, columns, children }: { label: string; columns: Column[]; children: ComponentChildren }) {
  return (
    <div class="table" role="group" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {columns.map(({ name, isNumber }) => (
              <th key={name} scope="col" class={isNumber ? "number" : ""}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
