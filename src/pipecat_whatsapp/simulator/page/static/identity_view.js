/** The sheet on which one says who one is. */

import { byId } from "./element.js";

const FIELDS = {
  name: "identity-name",
  phone: "identity-phone",
  user_id: "identity-user-id",
  username: "identity-username",
};

export class IdentityView {
  #button = byId("who-am-i");
  #sheet = byId("identity");
  /** @type {import("./types.js").User | null} */
  #user = null;

  /** @param {(user: import("./types.js").User) => void} onSave */
  constructor(onSave) {
    this.#button.addEventListener("click", () => this.#open(this.#sheet.hidden));
    this.#sheet.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      onSave(this.#read());
    });
    this.#sheet.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") this.#close();
    });
  }

  /**
   * The simulator knows the user as this one: what was saved holds.
   *
   * @param {import("./types.js").User} user
   */
  show(user) {
    this.#user = user;
    this.#close();
  }

  /** @returns {import("./types.js").User} What the fields say; an empty one is null. */
  #read() {
    const read = (/** @type {string} */ id) => byId(id).value.trim() || null;
    const { name, phone, user_id, username } = FIELDS;
    return {
      name: read(name),
      phone: read(phone),
      user_id: read(user_id),
      username: read(username)?.replace(/^@/, "") ?? null,
    };
  }

  /** @param {boolean} open */
  #open(open) {
    this.#sheet.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
    if (!open) return;
    for (const [key, id] of Object.entries(FIELDS)) byId(id).value = this.#user?.[key] ?? "";
    byId(FIELDS.name).focus();
  }

  #close() {
    const hadFocus = this.#sheet.contains(document.activeElement);
    this.#open(false);
    if (hadFocus) this.#button.focus();
  }
}
