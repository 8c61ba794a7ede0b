// Colours of classes.

/**
 * Colours that differ from each other and from most pictures. White text on each of them has a contrast of at least 4.5:1
 * (WCAG 2.2 AA).
 */
const COLOURS = [
  "#0b6bcb", "#c7273d", "#0d7d4d", "#a34b00", "#7a3fc4", "#00768a", "#b0227f", "#5a6b00",
  "#3f51c9", "#8f4a3b", "#00705f", "#9a2fae", "#4a6572", "#b3361b", "#2d7030", "#86591b",
] as const;

export function colourOf(classId: number): string {
  return COLOURS[classId % COLOURS.length] ?? COLOURS[0];
}
