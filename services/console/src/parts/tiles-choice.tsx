// Into how many tiles new pictures are cut.

import type { Signal } from "@preact/signals";
import { MOST_TILES, type TilesMode, columns, rows, tilesMode } from "../pictures/tiles";
import { texts } from "../texts";

const MODES: TilesMode[] = ["none", "auto", "grid"];

export function TilesChoice() {
  return (
    <div class="tiles">
      <label>
        <span>{texts.tiles.label}</span>
        <select
          value={tilesMode.value}
          onChange={({ currentTarget }) => (tilesMode.value = MODES[currentTarget.selectedIndex] ?? "none")}
        >
          {MODES.map((mode) => (
            <option key={mode} value={mode}>
              {texts.tiles.modes[mode]}
            </option>
          ))}
        </select>
      </label>
      {tilesMode.value === "grid" && (
        <span class="tiles-grid">
          <Side side={columns} other={rows} label={texts.tiles.columns} />
          <span aria-hidden="true">×</span>
          <Side side={rows} other={columns} label={texts.tiles.rows} />
        </span>
      )}
      <p class="quiet">{texts.tiles.note}</p>
    </div>
  );
}

/** The number of columns or rows, which with the other one gives at most as many tiles as the API allows. */
function Side({ side, other, label }: { side: Signal<number>; other: Signal<number>; label: string }) {
  const most = Math.floor(MOST_TILES / other.value);
  return (
    <input
      type="number"
      aria-label={label}
      min={1}
      max={most}
      value={side.value}
      onInput={({ currentTarget: { valueAsNumber: given } }) => {
        if (Number.isInteger(given) && given >= 1 && given <= most) side.value = given;
      }}
      onChange={({ currentTarget }) => {
        const given = Math.round(currentTarget.valueAsNumber) || 1;
        side.value = Math.min(Math.max(given, 1), most);
        // Also where the value stays the one before: what was given is not possible.
        currentTarget.valueAsNumber = side.value;
      }}
    />
  );
}
