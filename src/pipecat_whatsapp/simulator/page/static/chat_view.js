/** The chat strip: what is written, the business's call buttons, and its requests to call. */

import { byId, element, icon } from "./element.js";

/** The oldest go when there are more. */
const MOST_MESSAGES = 500;

/** How close to the end counts as being there, in pixels. */
const AT_END = 40;

const ANSWERS = [
  ["once", "Allow for 7 days"],
  ["always", "Always allow"],
  ["reject", "Don't allow"],
];

const STATES = {
  open: "Waits for your answer",
  once: "You allow calls for 7 days",
  always: "You always allow calls",
  reject: "You don't allow calls",
  expired: "Can no longer be answered",
};

export class ChatView {
  #list = byId("messages");
  #text = byId("message");
  #actions;
  /** @type {Map<number, HTMLElement>} The requests to call, by their number. */
  #prompts = new Map();
  /** Whether the newest is in sight; what the user scrolled back to stays in sight otherwise. */
  #atEnd = true;

  /**
   * @param {object} actions
   * @param {(text: string) => boolean} actions.write Whether it was sent.
   * @param {(message: string) => void} actions.tap
   * @param {(prompt: number, answer: string) => void} actions.reply
   */
  constructor(actions) {
    this.#actions = actions;
    this.#stayAtEnd();
    byId("write").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#write();
    });
    this.#text.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      // An input method's Enter takes a suggestion; it sends nothing.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#write();
    });
  }

  /** Somebody else's phone: another chat. */
  clear() {
    this.#prompts.clear();
    this.#list.replaceChildren();
  }

  /** The simulator is gone, and with it whoever could take an answer. */
  expirePrompts() {
    for (const prompt of this.#prompts.values()) this.#showPromptState(prompt, "expired");
    this.#prompts.clear();
  }

  /**
   * @param {object} message
   * @param {string} message.id
   * @param {"business" | "user"} message.from
   * @param {string} message.text
   * @param {string | null} message.button The words on its call button, if it has one.
   */
  addMessage({ id, from, text, button }) {
    const bubble = this.#addBubble(from, text);
    if (button !== null) bubble.append(this.#callButton(id, button));
  }

  /** @param {{id: number, text: string, state: keyof STATES}} prompt */
  showPrompt({ id, text, state }) {
    let bubble = this.#prompts.get(id);
    if (bubble === undefined) {
      bubble = this.#addPrompt(id, text);
      this.#prompts.set(id, bubble);
    }
    this.#showPromptState(bubble, state);
  }

  #write() {
    const text = this.#text.value.trim();
    if (text !== "" && this.#actions.write(text)) this.#text.value = "";
  }

  /**
   * @param {"business" | "user"} from
   * @param {string} text
   * @returns {HTMLElement}
   */
  #addBubble(from, text) {
    const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const sender = from === "user" ? "You" : "The bot";
    const words = element("p", { dir: "auto" }, text);
    const bubble = element("li", { class: `bubble ${from}` },
      element("span", { class: "visually-hidden" }, `${sender}: `),
      words,
      element("span", { class: "time" }, time));
    this.#append(bubble);
    return bubble;
  }

  /** @param {HTMLElement} bubble */
  #append(bubble) {
    this.#list.append(bubble);
    if (this.#list.children.length > MOST_MESSAGES) this.#list.firstElementChild.remove();
    // Its buttons are yet to come.
    requestAnimationFrame(() => this.#scrollToEnd());
  }

  /** Remain at the end when the call screen grows and leaves less room. */
  #stayAtEnd() {
    const list = this.#list;
    list.addEventListener("scroll", () => {
      this.#atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < AT_END;
    });
    new ResizeObserver(() => this.#scrollToEnd()).observe(list);
  }

  #scrollToEnd() {
    if (this.#atEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  /**
   * @param {string} message
   * @param {string} words
   */
  #callButton(message, words) {
    const button = element("button", { type: "button", class: "wide" }, icon("handset"), words);
    button.addEventListener("click", () => this.#actions.tap(message));
    return button;
  }

  /**
   * @param {number} id
   * @param {string} text
   */
  #addPrompt(id, text) {
    const bubble = this.#addBubble("business", text || "The business asks to call you.");
    const buttons = ANSWERS.map(([answer, words]) => {
      const attributes = { type: "button", class: "wide", "data-answer": answer };
      const button = element("button", attributes, words);
      button.addEventListener("click", () => this.#actions.reply(id, answer));
      return button;
    });
    bubble.classList.add("prompt");
    bubble.append(element("p", { class: "prompt-state" }), ...buttons);
    return bubble;
  }

  /**
   * @param {HTMLElement} bubble
   * @param {keyof STATES} state
   */
  #showPromptState(bubble, state) {
    bubble.dataset.state = state;
    bubble.querySelector(".prompt-state").textContent = STATES[state];
    for (const button of bubble.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.answer === state));
      button.disabled = state === "expired";
    }
  }
}
