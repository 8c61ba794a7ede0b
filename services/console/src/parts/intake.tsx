// Where pictures come in: files, a folder, the camera, the samples.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { sampleFile, sampleNames, sampleUrl } from "../api/samples";
import { scopes } from "../api/scopes";
import { startCamera } from "../camera/camera";
import { notice, showFailure } from "../notice";
import { takeFiles } from "../pictures/intake";
import { texts } from "../texts";
import { TilesChoice } from "./tiles-choice";

const samples = signal<string[]>([]);

/** The buttons by which pictures are added. */
export function IntakeButtons() {
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);
  const onChange = ({ currentTarget }: { currentTarget: HTMLInputElement }) => {
    takeFiles(currentTarget.files ?? []);
    // The same files can be chosen again.
    currentTarget.value = "";
  };
  const isRefused = scopes.value?.submit === false;
  return (
    <div class="intake-buttons" role="group" aria-label={texts.intake.actions}>
      <button type="button" class="primary" disabled={isRefused} onClick={() => files.current?.click()}>
        {texts.intake.choose}
      </button>
      <button type="button" disabled={isRefused} onClick={() => folder.current?.click()}>
        {texts.intake.folder}
      </button>
      <button type="button" disabled={isRefused} onClick={() => void startCamera()}>
        {texts.intake.camera}
      </button>
      <input ref={files} type="file" accept="image/*" multiple hidden onChange={onChange} data-input="files" />
      <input ref={folder} type="file" multiple hidden onChange={onChange} {...{ webkitdirectory: true }} data-input="folder" />
    </div>
  );
}

/** The whole intake, on a page without pictures. */
export function Intake() {
  useEffect(() => {
    void sampleNames().then((names) => (samples.value = names), showFailure);
  }, []);
  return (
    <section class="intake" aria-labelledby="intake-heading">
      <h2 id="intake-heading">{texts.intake.heading}</h2>
      <p>{texts.intake.drop}</p>
      <IntakeButtons />
      <p class="quiet">{texts.intake.formats}</p>
      <TilesChoice />
      {/* Its height is kept free while the list is on its way. */}
      <div class="samples">
        {samples.value.length > 0 && <h3>{texts.intake.samples}</h3>}
        <ul>
          {samples.value.map((name) => (
            <li key={name}>
              <button
                type="button"
                class="sample"
                aria-label={texts.intake.sample(name)}
                onClick={() => void sampleFile(name).then((file) => takeFiles([file]), showFailure)}
              >
                <img src={sampleUrl(name)} alt="" />
              </button>
            </li>
          ))}
        </ul>
      </div>
      {scopes.value?.submit === false && <p class="error-note">{texts.key.submitsNot}</p>}
    </section>
  );
}

/** A message that has no place of its own. */
export function Notice() {
  return (
    <p class="toast" role="status" hidden={notice.value === null}>
      {notice.value}
    </p>
  );
}
