// Which part of a picture is seen, and where its pixels are on the screen.

export interface Size {
  width: number;
  height: number;
}

/** The sizes of the viewer in CSS pixels, and of the picture in its own. */
export interface Sizes {
  viewer: Size;
  picture: Size;
}

/** The zoom (1: the whole picture fits), and the point of the picture in the middle, from 0 to 1 in each direction. */
export interface Viewport {
  zoom: number;
  x: number;
  y: number;
}

/** Where the picture is within the viewer, in CSS pixels. */
export interface Placement {
  scale: number;
  left: number;
  top: number;
}

export const WHOLE: Viewport = { zoom: 1, x: 0.5, y: 0.5 };

const MOST_ZOOM = 40;
/** Kept free around a picture that fits, in CSS pixels. */
const MARGIN = 12;
/** A small picture is not enlarged further than this to fit. */
const MOST_ENLARGED = 3;

/** Whether a picture can be seen in a viewer of this size, which has none before it is laid out. */
export function hasRoom({ width, height }: Size): boolean {
  return Math.min(width, height) > 2 * MARGIN;
}

export function place(viewport: Viewport, { viewer, picture }: Sizes): Placement {
  const scale = fittingScale(viewer, picture) * viewport.zoom;
  return {
    scale,
    left: viewer.width / 2 - viewport.x * picture.width * scale,
    top: viewer.height / 2 - viewport.y * picture.height * scale,
  };
}

function fittingScale(viewer: Size, picture: Size): number {
  const across = (viewer.width - 2 * MARGIN) / Math.max(1, picture.width);
  const down = (viewer.height - 2 * MARGIN) / Math.max(1, picture.height);
  return Math.max(0.001, Math.min(across, down, MOST_ENLARGED));
}

/** Zooms by a factor, so that the point of the viewer that is given (in CSS pixels) stays where it is. */
export function zoomBy(factor: number, at: { x: number; y: number }, before: Viewport, sizes: Sizes): Viewport {
  const zoom = Math.max(1, Math.min(MOST_ZOOM, before.zoom * factor));
  const { scale, left, top } = place(before, sizes);
  const { picture } = sizes;
  const [x, y] = [(at.x - left) / scale / picture.width, (at.y - top) / scale / picture.height];
  const kept = before.zoom / zoom;
  return within({ zoom, x: x + (before.x - x) * kept, y: y + (before.y - y) * kept });
}

/** Moves the picture by a distance in CSS pixels. */
export function moveBy(dx: number, dy: number, before: Viewport, sizes: Sizes): Viewport {
  const { scale } = place(before, sizes);
  const { picture } = sizes;
  return within({
    zoom: before.zoom,
    x: before.x - dx / scale / picture.width,
    y: before.y - dy / scale / picture.height,
  });
}

/** The picture does not leave the viewer; one that fits stays in the middle. */
function within({ zoom, x, y }: Viewport): Viewport {
  if (zoom <= 1) return WHOLE;
  const clamp = (part: number) => Math.max(0, Math.min(1, part));
  return { zoom, x: clamp(x), y: clamp(y) };
}
