// The picture with its boxes: a canvas over the picture, which the pointer and the keyboard zoom and move.

import { useSignalEffect, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { percent } from "../format";
import { type View, highlighted, shownObjects, view } from "../results/shown";
import { texts } from "../texts";
import { drawObjects, objectAt } from "./draw";
import { type Size, WHOLE, hasRoom, moveBy, place, zoomBy } from "./viewport";

const KEY_ZOOM = 1.25;
const KEY_MOVE = 60;
const WHEEL_ZOOM = 1.0015;

export function Viewer() {
  const container = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const image = useRef<HTMLImageElement>(null);
  const size = useSignal<Size>({ width: 0, height: 0 });
  const natural = useSignal<Size>({ width: 0, height: 0 });
  const viewport = useSignal(WHOLE);
  const shownName = useSignal<string | null>(null);
  /** The address of a file that the browser cannot show, such as one that is no picture. */
  const unreadable = useSignal<string | null>(null);

  const pictureSize = (): Size => (view.value?.width ? view.value : natural.value);
  const sizes = () => ({ viewer: size.value, picture: pictureSize() });
  const placement = () => place(viewport.value, sizes());
  const zoom = (factor: number, at = { x: size.value.width / 2, y: size.value.height / 2 }) => {
    viewport.value = zoomBy(factor, at, viewport.value, sizes());
  };
  const move = (dx: number, dy: number) => {
    viewport.value = moveBy(dx, dy, viewport.value, sizes());
  };

  useEffect(() => {
    const watched = container.current;
    if (!watched) return;
    const observer = new ResizeObserver(() => {
      size.value = { width: watched.clientWidth, height: watched.clientHeight };
    });
    observer.observe(watched);
    // Not by an attribute: Preact's listeners for the wheel may be passive, and the page would scroll.
    const onWheel = (event: WheelEvent) => {
      event.preventDefault();
      zoom(WHEEL_ZOOM ** -event.deltaY, { x: event.offsetX, y: event.offsetY });
    };
    watched.addEventListener("wheel", onWheel, { passive: false });
    return () => {
      observer.disconnect();
      watched.removeEventListener("wheel", onWheel);
    };
  }, []);

  // Another picture is shown as a whole; a new result of the same one leaves the viewport.
  useSignalEffect(() => {
    const name = view.value?.url ?? view.value?.name ?? null;
    if (name !== shownName.peek() && view.value?.name !== texts.camera.name) viewport.value = WHOLE;
    shownName.value = name;
  });

  // Everything that is drawn is read here, so any change of it draws again, at most once in a frame.
  const frame = useRef(0);
  useSignalEffect(() => {
    const [{ width, height }, placed] = [size.value, placement()];
    const drawn = { objects: shownObjects.value, highlighted: highlighted.value, width };
    const picture = pictureSize();
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => {
      const [onto, below] = [canvas.current, image.current];
      const context = onto?.getContext("2d");
      if (!onto || !context || !hasRoom({ width, height })) return;
      const density = window.devicePixelRatio;
      const [wide, high] = [Math.round(width * density), Math.round(height * density)];
      if (onto.width !== wide || onto.height !== high) [onto.width, onto.height] = [wide, high];
      context.setTransform(density, 0, 0, density, 0, 0);
      context.clearRect(0, 0, width, height);
      drawObjects(context, drawn, placed);
      if (!below) return;
      below.style.width = `${picture.width}px`;
      below.style.height = `${picture.height}px`;
      below.style.transform = `translate(${placed.left}px, ${placed.top}px) scale(${placed.scale})`;
    });
  });

  const onPointerMove = (event: PointerEvent) => {
    if (event.buttons === 1 && viewport.value.zoom > 1) return move(event.movementX, event.movementY);
    highlighted.value = objectAt(event.offsetX, event.offsetY, shownObjects.value, placement());
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const moves: Record<string, [number, number]> = {
      ArrowLeft: [KEY_MOVE, 0],
      ArrowRight: [-KEY_MOVE, 0],
      ArrowUp: [0, KEY_MOVE],
      ArrowDown: [0, -KEY_MOVE],
    };
    const [dx, dy] = moves[event.key] ?? [0, 0];
    if (event.key === "+" || event.key === "=") zoom(KEY_ZOOM);
    else if (event.key === "-") zoom(1 / KEY_ZOOM);
    else if (event.key === "0") viewport.value = WHOLE;
    else if (dx !== 0 || dy !== 0) move(dx, dy);
    else return;
    event.preventDefault();
  };

  const shown = view.value;
  return (
    <div class="viewer" ref={container}>
      {shown?.url && unreadable.value !== shown.url && (
        <img
          ref={image}
          class="viewer-picture"
          src={shown.url}
          alt={described(shown, shownObjects.value.length)}
          onLoad={({ currentTarget: { naturalWidth: width, naturalHeight: height } }) => {
            natural.value = { width, height };
          }}
          onError={() => (unreadable.value = shown.url)}
        />
      )}
      {shown?.url && unreadable.value === shown.url && <p class="viewer-note">{texts.viewer.unreadable}</p>}
      {shown && !shown.url && shown.width > 0 && <p class="viewer-note">{texts.viewer.pictureLost}</p>}
      <canvas
        ref={canvas}
        class={viewport.value.zoom > 1 ? "viewer-boxes is-zoomed" : "viewer-boxes"}
        tabIndex={0}
        role="application"
        aria-label={texts.viewer.canvas}
        onPointerMove={onPointerMove}
        onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
        onPointerLeave={() => (highlighted.value = null)}
        onDblClick={(event) => {
          const at = { x: event.offsetX, y: event.offsetY };
          if (viewport.value.zoom > 1) viewport.value = WHOLE;
          else zoom(3, at);
        }}
        onKeyDown={onKeyDown}
      />
      <div class="viewer-zoom" role="group" aria-label={texts.viewer.zoom}>
        <button type="button" aria-label={texts.viewer.zoomOut} onClick={() => zoom(1 / KEY_ZOOM)}>
          −
        </button>
        <button
          type="button"
          aria-label={`${percent(viewport.value.zoom)}, ${texts.viewer.whole}`}
          onClick={() => (viewport.value = WHOLE)}
        >
          {percent(viewport.value.zoom)}
        </button>
        <button type="button" aria-label={texts.viewer.zoomIn} onClick={() => zoom(KEY_ZOOM)}>
          +
        </button>
      </div>
    </div>
  );
}

function described({ name }: View, objects: number): string {
  return texts.viewer.described(name, objects);
}
