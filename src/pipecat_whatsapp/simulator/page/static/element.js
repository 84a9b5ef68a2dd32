/**
 * Building the page. Text comes in as text only: nothing here, or anywhere in this folder, parses
 * markup, so that a caller may be called `<img onerror=...>` and be shown as just that.
 */

/**
 * An element of the page that must be there.
 *
 * @param {string} id
 * @returns {any} The element; `any` because callers know which kind it is.
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`The page has no element "${id}".`);
  return found;
}

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {Object<string, string | boolean>} [attributes] True sets one without a value; false
 *   leaves it out. Their names are the program's own, never data.
 * @param {...(Node | string)} children Strings become text.
 * @returns {any}
 */
export function element(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

/**
 * Make an SVG element; see `element`.
 *
 * @param {string} tag
 * @param {Object<string, string | boolean>} [attributes]
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function drawing(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/**
 * One of the drawings at the top of index.html.
 *
 * @param {string} name
 * @returns {SVGElement}
 */
export function icon(name) {
  return drawing("svg", { "aria-hidden": "true" }, drawing("use", { href: `#icon-${name}` }));
}

/**
 * @param {Element} made
 * @param {Object<string, string | boolean>} attributes
 * @param {(Node | string)[]} children
 */
function furnish(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}
