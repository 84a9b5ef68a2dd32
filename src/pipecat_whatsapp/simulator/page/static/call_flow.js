/** One phone's call, from the user's fingers to the simulator and back. */

/**
 * @typedef {"ready" | "calling" | "ringing" | "answered" | "ended"} Phase
 *
 * @typedef {object} CallState
 * @property {Phase} phase
 * @property {string} text Why it ended, once it has.
 * @property {number} since When this phase began, `performance.now()`.
 * @property {boolean} muted
 */

export class CallFlow {
  #send;
  #media;
  #onChange;
  /** @type {CallState} */
  #state = { phase: "ready", text: "", since: 0, muted: false };
  /** Counts what the user began, so that what was waited for in vain is recognized. */
  #attempt = 0;
  /** Whether the simulator was told of the call that the page shows, or told of it. */
  #ordered = false;
  /** Whether the simulator has taken it up. */
  #confirmed = false;

  /**
   * @param {(order: object) => boolean} send
   * @param {import("./call_media.js").CallMedia} media
   * @param {(state: CallState) => void} onChange
   */
  constructor(send, media, onChange) {
    this.#send = send;
    this.#media = media;
    this.#onChange = onChange;
  }

  /** @returns {boolean} Whether a call is up or about to be. */
  get busy() {
    return !["ready", "ended"].includes(this.#state.phase);
  }

  /** @returns {Phase} */
  get phase() {
    return this.#state.phase;
  }

  /**
   * Call the business.
   *
   * @param {object} order What is sent once there is a microphone.
   */
  async dial(order = { kind: "dial" }) {
    if (this.busy) return;
    this.#ordered = false;
    this.#confirmed = false;
    this.#become("calling");
    await this.#withMicrophone(order);
  }

  /** Pick up. */
  async accept() {
    if (this.#state.phase === "ringing") await this.#withMicrophone({ kind: "accept" });
  }

  decline() {
    this.#attempt += 1;
    this.#media.close();
    this.#send({ kind: "decline" });
  }

  hangUp() {
    this.#attempt += 1;
    const told = this.#ordered && this.#send({ kind: "hang_up" });
    if (!told) this.#backToReady();
  }

  /** @param {string} key */
  press(key) {
    this.#send({ kind: "press", key });
  }

  toggleMute() {
    const muted = !this.#state.muted;
    this.#media.mute(muted);
    this.#send({ kind: "muted", on: muted });
    this.#change({ muted });
  }

  /**
   * The simulator tells how the call stands.
   *
   * @param {{state: Phase, text?: string}} message
   */
  onCall(message) {
    this.#ordered = true;
    this.#confirmed = true;
    if (message.state === "ended") this.#close();
    // The bot was faster than the user, who was about to call.
    if (message.state === "ringing") this.#attempt += 1;
    if (message.state !== this.#state.phase) this.#become(message.state, message.text ?? "");
  }

  /**
   * The simulator offers the call's sound.
   *
   * @param {string} offer
   */
  async onMedia(offer) {
    const sdp = await this.#media.answer(offer);
    if (sdp !== null) this.#send({ kind: "media_answer", sdp });
  }

  /** The simulator refused something; if it was this call, there is none. */
  onRefusal() {
    if (this.#state.phase === "calling" && !this.#confirmed) this.#backToReady();
  }

  /** The simulator is gone, and the call with it. */
  onGone() {
    this.#close();
    if (this.busy) this.#become("ended", "the simulator is gone");
  }

  /** @param {object} order */
  async #withMicrophone(order) {
    this.#attempt += 1;
    const attempt = this.#attempt;
    await this.#media.openMicrophone();
    if (attempt !== this.#attempt) return;
    this.#ordered = this.#send(order);
  }

  #backToReady() {
    this.#close();
    this.#become("ready");
  }

  #close() {
    this.#attempt += 1;
    this.#media.close();
  }

  /**
   * @param {Phase} phase
   * @param {string} [text]
   */
  #become(phase, text = "") {
    const muted = phase === "answered" && this.#state.muted;
    this.#change({ phase, text, muted, since: performance.now() });
  }

  /** @param {Partial<CallState>} difference */
  #change(difference) {
    this.#state = { ...this.#state, ...difference };
    this.#onChange(this.#state);
  }
}
