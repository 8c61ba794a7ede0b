// The view for trying spotter out: pictures, boxes over them, and their objects.

import { useEffect } from "preact/hooks";
import { camera, stopCamera } from "../camera/camera";
import { pictures } from "../pictures/list";
import { texts } from "../texts";
import { Viewer } from "../viewer/viewer";
import { Intake } from "./intake";
import { PictureBar } from "./picture-bar";
import { PictureList } from "./picture-list";
import { Results } from "./results";

export function TryIt() {
  // Nobody sees what the camera sees while another view is shown.
  useEffect(() => stopCamera, []);
  const isEmpty = pictures.value.length === 0 && camera.value.kind === "off";
  if (isEmpty) {
    return (
      <main class="start">
        <Intake />
      </main>
    );
  }
  return (
    <main class="work">
      <PictureList />
      <section class="stage" aria-label={texts.picture.region}>
        <PictureBar />
        <Viewer />
      </section>
      <Results />
    </main>
  );
}
