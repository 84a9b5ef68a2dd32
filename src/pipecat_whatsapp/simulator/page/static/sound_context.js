/** The one AudioContext of the page; browsers limit their number, and want a click before sound. */

/** @type {AudioContext | null} */
let context = null;

/**
 * The context; running as soon as the user has touched the page.
 *
 * @returns {AudioContext}
 */
export function soundContext() {
  context ??= new AudioContext();
  if (context.state === "suspended") context.resume().catch(() => {});
  return context;
}

/**
 * Whether the page may make a sound of its own. Asking before a context is made keeps the console
 * free of the browser's warning.
 *
 * @returns {boolean}
 */
export function maySound() {
  return context !== null || (navigator.userActivation?.hasBeenActive ?? true);
}
