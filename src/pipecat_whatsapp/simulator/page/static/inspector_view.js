/** The inspector: what the call at hand is made of, live or out of a file. */

import { CurvesView } from "./curves.js";
import { byId, element } from "./element.js";
import { nameOf, phoneNumber } from "./format.js";
import { ReviewView } from "./review_view.js";
import { openSavedCall } from "./saved_call.js";
import { SequenceView } from "./sequence_view.js";

const NOTHING = { steps: [], samples: [], remarks: [] };

export class InspectorView {
  #steps = new SequenceView();
  #curves = new CurvesView();
  #review = new ReviewView();
  /** @type {import("./types.js").CallRecord | null} */
  #live = null;
  /** @type {import("./types.js").SavedCall | null} What is shown in place of the live one. */
  #saved = null;
  #inCall = false;
  /** Whether the simulator that could save the live call is gone. */
  #lost = false;
  /** @type {string[]} The addresses of the saved call's sound. */
  #blobs = [];
  #onTrouble;

  /** @param {(text: string) => void} onTrouble */
  constructor(onTrouble) {
    this.#onTrouble = onTrouble;
    byId("open-call").addEventListener("change", () => this.#openFile());
    byId("back-to-live").addEventListener("click", () => this.#backToLive());
  }

  /**
   * A call begins, or what leads to one.
   *
   * @param {import("./types.js").CallRecord} record
   */
  begin(record) {
    this.#live = record;
    this.#lost = false;
    if (this.#saved === null) this.#showRecord(record);
  }

  /** @param {boolean} inCall Whether the live call goes on: it can be saved once it is over. */
  setInCall(inCall) {
    this.#inCall = inCall;
    this.#showSaveLink();
  }

  /** The simulator is gone, and what it kept of the live call. */
  lose() {
    this.#lost = true;
    this.#showSaveLink();
  }

  /**
   * @param {string} id
   * @param {import("./types.js").Step} step
   */
  addStep(id, step) {
    this.#update(id, (record) => record.steps.push(step), () => this.#steps.add(step));
  }

  /**
   * @param {string} id
   * @param {import("./types.js").Sample} sample
   */
  addSample(id, sample) {
    this.#update(id, (record) => record.samples.push(sample), () => this.#curves.add(sample));
  }

  /**
   * @param {string} id
   * @param {import("./types.js").Remark[]} remarks
   */
  setRemarks(id, remarks) {
    this.#update(id, (record) => { record.remarks = remarks; }, () => this.#review.show(remarks));
  }

  /**
   * The call has an id at WhatsApp, or an end.
   *
   * @param {string} id
   * @param {{call_id?: string, end?: string}} facts
   */
  setFacts(id, facts) {
    this.#update(id, (record) => Object.assign(record, facts), (record) => showFacts(record));
  }

  /**
   * Change the live record, and what is shown of it.
   *
   * @param {string} id Which record this is about; an older one is past.
   * @param {(record: import("./types.js").CallRecord) => void} change
   * @param {(record: import("./types.js").CallRecord) => void} show
   */
  #update(id, change, show) {
    if (this.#live?.id !== id) return;
    change(this.#live);
    if (this.#saved === null) show(this.#live);
  }

  /** @param {import("./types.js").CallRecord | null} record */
  #showRecord(record) {
    const { steps, samples, remarks } = record ?? NOTHING;
    this.#steps.show(steps);
    this.#curves.show(samples);
    this.#review.show(remarks);
    showFacts(record);
    this.#showSaveLink();
  }

  #showSaveLink() {
    const link = byId("save-call");
    link.hidden = this.#live === null || this.#saved !== null || this.#inCall || this.#lost;
    if (this.#live !== null) link.href = `/calls/${encodeURIComponent(this.#live.id)}.json`;
  }

  async #openFile() {
    const input = byId("open-call");
    const [file] = input.files;
    if (file === undefined) return;
    try {
      this.#showSaved(await openSavedCall(file));
    } catch (error) {
      this.#onTrouble(`${file.name} cannot be opened: ${error.message}`);
    }
    // The same file again shall be a change, too.
    input.value = "";
  }

  /** @param {import("./types.js").SavedCall} saved */
  #showSaved(saved) {
    this.#saved = saved;
    this.#showRecord(saved.record);
    this.#setReadOnly(true);
    const began = new Date(saved.record.began_at);
    const words = began.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    byId("saved-words").textContent = `Saved call of ${words}`;
    this.#showAudio(saved);
    byId("back-to-live").focus();
  }

  #backToLive() {
    this.#saved = null;
    this.#showRecord(this.#live);
    this.#setReadOnly(false);
    this.#dropAudio();
    // The button that had the focus is gone.
    byId("open-call").focus();
  }

  /** @param {boolean} readOnly The controls are about the live phone: they hide meanwhile. */
  #setReadOnly(readOnly) {
    byId("saved").hidden = !readOnly;
    byId("line").hidden = readOnly;
    byId("faults").hidden = readOnly;
  }

  /** @param {import("./types.js").SavedCall} saved */
  #showAudio({ heard, said }) {
    this.#dropAudio();
    byId("saved-audio").append(
      this.#player("What the phone heard", heard),
      this.#player("What the user said", said),
    );
  }

  /**
   * @param {string} name
   * @param {Blob | null} sound
   * @returns {HTMLElement}
   */
  #player(name, sound) {
    const figure = element("figure", {}, element("figcaption", {}, name));
    if (sound === null) {
      figure.append(element("p", {}, "Nothing recorded."));
      return figure;
    }
    const source = URL.createObjectURL(sound);
    this.#blobs.push(source);
    const audio = element("audio", { controls: true, src: source, "aria-label": name });
    audio.addEventListener("error", () => this.#onTrouble("This browser cannot play Ogg Opus."));
    figure.append(audio);
    return figure;
  }

  #dropAudio() {
    byId("saved-audio").replaceChildren();
    for (const source of this.#blobs.splice(0)) URL.revokeObjectURL(source);
  }
}

/** @param {import("./types.js").CallRecord | null} record */
function showFacts(record) {
  byId("record-title").textContent = record === null ? "No call yet" : titleOf(record);
  byId("record-facts").replaceChildren(...(record === null ? [] : factsOf(record)));
}

/** @param {import("./types.js").CallRecord} record */
function titleOf({ direction, user, business_phone: business }) {
  return direction === "inbound"
    ? `${nameOf(user)} calls ${phoneNumber(business)}`
    : `${phoneNumber(business)} calls ${nameOf(user)}`;
}

/**
 * @param {import("./types.js").CallRecord} record
 * @returns {Node[]}
 */
function factsOf({ call_id: id, end }) {
  const facts = [];
  if (id !== null) facts.push(element("code", {}, id));
  if (end !== null) facts.push(element("span", {}, `Ended: ${end}`));
  return facts;
}
