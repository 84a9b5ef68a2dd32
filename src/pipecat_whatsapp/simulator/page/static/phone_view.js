/** The call screen: who is called, how the call stands, and the round buttons. */

import { byId } from "./element.js";
import { clock, initial, nameOf, phoneNumber, reachedAt } from "./format.js";
import { Ringer } from "./tones.js";

const TICK = 250;

/** What the screen says in each phase; the time of a call stands beside it. */
const WORDS = {
  ready: "Ready",
  calling: "Calling…",
  ringing: "Ringing…",
  answered: "In call ",
  ended: "Call ended",
};

/** Which buttons there are in each phase; the first is where the keyboard goes on. */
const BUTTONS = {
  ready: ["call", "ask-call"],
  calling: ["hang-up"],
  ringing: ["accept", "decline"],
  answered: ["hang-up", "mute", "keypad-button"],
  ended: ["call", "ask-call"],
};

const ALL_BUTTONS = new Set(Object.values(BUTTONS).flat());

/** What is to be heard in a phase. */
const RINGS = { calling: "outgoing", ringing: "incoming" };

export class PhoneView {
  #ringer = new Ringer();
  /** @type {import("./call_flow.js").CallState} */
  #state = { phase: "ready", text: "", since: 0, muted: false };
  #owner = "";

  /**
   * @param {object} actions What the buttons do.
   * @param {() => void} actions.call
   * @param {() => void} actions.askCall
   * @param {() => void} actions.accept
   * @param {() => void} actions.decline
   * @param {() => void} actions.hangUp
   * @param {() => void} actions.mute
   */
  constructor(actions) {
    const buttons = {
      call: actions.call,
      "ask-call": actions.askCall,
      accept: actions.accept,
      decline: actions.decline,
      "hang-up": actions.hangUp,
      mute: actions.mute,
    };
    for (const [id, action] of Object.entries(buttons)) byId(id).addEventListener("click", action);
    this.#connectSpeakerLevel();
    setInterval(() => this.#showTime(), TICK);
  }

  /**
   * @param {{name: string, phone: string}} business
   * @param {import("./types.js").User} user
   */
  introduce(business, user) {
    byId("business-name").textContent = business.name;
    byId("business-initial").textContent = initial(business.name);
    byId("business-number").textContent = phoneNumber(business.phone);
    this.#owner = nameOf(user);
    byId("owner-name").textContent = this.#owner;
    byId("owner-number").textContent = reachedAt(user);
    byId("owner-initial").textContent = initial(this.#owner);
    this.#showTitle();
  }

  /**
   * Whether the simulator is there to be called.
   *
   * @param {boolean} usable
   */
  use(usable) {
    for (const id of ["call", "ask-call"]) byId(id).disabled = !usable;
  }

  /** @param {import("./call_flow.js").CallState} state */
  show(state) {
    const before = this.#state;
    this.#state = state;
    byId("mute").setAttribute("aria-pressed", String(state.muted));
    if (state.phase !== before.phase) this.#enterPhase(state);
  }

  /**
   * The bot pressed a key.
   *
   * @param {string} key
   */
  hear(key) {
    const heard = byId("heard-keys");
    heard.hidden = false;
    heard.textContent = `${heard.textContent || "The bot pressed"} ${key}`;
  }

  /** @param {number} level Of the microphone, 0 to 1. */
  showMicrophone(level) {
    byId("microphone-level").style.setProperty("--level", level.toFixed(2));
  }

  /** @param {number} level Of the bot's voice, 0 to 1. */
  showVoice(level) {
    byId("face").style.setProperty("--level", level.toFixed(2));
  }

  /** @param {import("./call_flow.js").CallState} state */
  #enterPhase({ phase, text }) {
    byId("phone").dataset.phase = phase;
    const why = phase === "ended" && text !== "" ? `: ${text}` : "";
    byId("call-words").textContent = WORDS[phase] + why;
    byId("heard-keys").hidden = true;
    byId("heard-keys").textContent = "";
    this.#showTime();
    this.#showTitle();
    this.#showButtons(phase);
    this.#ringer.stop();
    if (phase in RINGS) this.#ringer.start(RINGS[phase]);
  }

  /** @param {import("./call_flow.js").Phase} phase */
  #showButtons(phase) {
    const shown = BUTTONS[phase];
    const focused = document.activeElement;
    const loses = ALL_BUTTONS.has(focused?.id ?? "") && !shown.includes(focused.id);
    const closes = byId("keypad").contains(focused) && phase !== "answered";
    for (const id of ALL_BUTTONS) byId(id).hidden = !shown.includes(id);
    // A button that goes away takes the focus with it: the keyboard goes on at the next one.
    if (loses || closes) byId(shown[0]).focus();
  }

  #showTime() {
    const { phase, since } = this.#state;
    const time = phase === "answered" ? clock((performance.now() - since) / 1000) : "";
    const timer = byId("call-timer");
    if (timer.textContent !== time) timer.textContent = time;
  }

  #showTitle() {
    document.title = `${this.#owner || "Simulated phone"} · ${WORDS[this.#state.phase].trim()}`;
  }

  #connectSpeakerLevel() {
    const level = byId("speaker-level");
    const set = () => {
      byId("speaker").volume = level.valueAsNumber / 100;
      level.style.setProperty("--share", `${level.value}%`);
      level.setAttribute("aria-valuetext", `${level.value} %`);
    };
    level.addEventListener("input", set);
    set();
  }
}
