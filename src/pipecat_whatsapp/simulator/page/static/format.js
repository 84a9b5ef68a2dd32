/** Figures as people read them. */

/**
 * The time of a call.
 *
 * @param {number} seconds
 * @returns {string} Such as "0:07", or "1:02:03" after an hour.
 */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (/** @type {number} */ count) => String(count).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/**
 * How long something took, or when it was.
 *
 * @param {number} seconds
 * @returns {string} Such as "12 ms", "3.45 s" or "1:23.4".
 */
export function duration(seconds) {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.995) return `${seconds.toFixed(2)} s`;
  const tenths = Math.round(seconds * 10);
  return `${clock(tenths / 10)}.${tenths % 10}`;
}

/**
 * @param {number} value
 * @returns {string} Such as "12 ms".
 */
export function milliseconds(value) {
  return `${value < 9.95 ? Number(value.toFixed(1)) : Math.round(value)} ms`;
}

/**
 * @param {number} share 0 to 1.
 * @returns {string} Such as "2.5 %".
 */
export function percent(share) {
  const value = share * 100;
  return `${value < 9.95 ? Number(value.toFixed(1)) : Math.round(value)} %`;
}

/**
 * @param {number} value
 * @returns {string} Such as "−20 dB", with a real minus sign.
 */
export function decibels(value) {
  return `${Math.round(value)} dB`.replace("-", "\u2212");
}

/**
 * How somebody is reached.
 *
 * @param {import("./types.js").User} user
 * @returns {string}
 */
export function reachedAt(user) {
  if (user.phone) return phoneNumber(user.phone);
  return user.username ? `@${user.username}` : (user.user_id ?? "");
}

/**
 * What somebody is called.
 *
 * @param {import("./types.js").User} user
 * @returns {string}
 */
export function nameOf(user) {
  return user.name || reachedAt(user) || "Somebody";
}

/**
 * @param {string} digits Or a masked number, as saved calls have it.
 * @returns {string}
 */
export function phoneNumber(digits) {
  return `+${digits}`;
}

/**
 * The letter that stands for somebody.
 *
 * @param {string} name
 * @returns {string} One character of any script.
 */
export function initial(name) {
  const [first = "?"] = name.trim();
  return first.toLocaleUpperCase();
}
