/** What WhatsApp thinks of the bot's SDP, trait by trait. */

import { byId, element } from "./element.js";

/** A sign and a word for each verdict: its colour is never alone. */
const VERDICTS = {
  good: ["✓", "Good"],
  note: ["i", "Note"],
  wrong: ["✕", "Wrong"],
};

export class ReviewView {
  /** @param {import("./types.js").Remark[]} remarks */
  show(remarks) {
    byId("no-review").hidden = remarks.length > 0;
    byId("review").replaceChildren(...remarks.map(remarkItem));
  }
}

/** @param {import("./types.js").Remark} remark */
function remarkItem({ verdict, text }) {
  const [sign, word] = VERDICTS[verdict];
  const badge = element("span", { class: "badge" },
    element("span", { "aria-hidden": "true" }, sign), word);
  const words = element("span", { dir: "auto" }, text);
  return element("li", { class: `remark ${verdict}` }, badge, words);
}
