/**
 * Who this tab's user is. Several tabs are several phones, so each takes a place of its own with a
 * lock that the browser takes back when the tab goes, however it goes.
 */

const STORED = "phone";

/** The page that is being reloaded lets its place go a moment after the new one wants it. */
const RELOAD_TIME = 500;

/** @type {import("./types.js").User[]} Who the first tabs are. */
const PEOPLE = [
  { name: "Ada Example", phone: "4915550002222", user_id: "DE.900000000000000001", username: null },
  { name: "Ben Example", phone: "4915550003333", user_id: "DE.900000000000000002", username: null },
  { name: "Chloe Example", phone: "33655500044", user_id: "FR.900000000000000003", username: null },
  { name: "Dev Example", phone: "15550100055", user_id: "US.900000000000000004", username: null },
];

/**
 * @typedef {object} Identity
 * @property {number} place Counted from 0.
 * @property {import("./types.js").User} user
 */

/**
 * Take the place that this tab had before it was reloaded, or the first that is free.
 *
 * @returns {Promise<Identity>}
 */
export async function takeIdentity() {
  const stored = readStored();
  const patience = { signal: AbortSignal.timeout(RELOAD_TIME) };
  // A tab that was duplicated has its original's place in store, and does not get it.
  if (stored !== null && (await takePlace(stored.place, patience))) return stored;
  let place = 0;
  while (!(await takePlace(place, { ifAvailable: true }))) place += 1;
  return { place, user: personAt(place) };
}

/**
 * Have the tab be the same after it is reloaded.
 *
 * @param {Identity} identity
 */
export function storeIdentity(identity) {
  sessionStorage.setItem(STORED, JSON.stringify(identity));
}

/** @returns {Identity | null} */
function readStored() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED) ?? "null");
  } catch {
    return null;
  }
}

/**
 * @param {number} place
 * @param {LockOptions} options
 * @returns {Promise<boolean>} Whether this tab has it now, for as long as it lives.
 */
function takePlace(place, options) {
  // Browsers have locks for pages of this machine; elsewhere every tab starts as the first user.
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    const hold = (/** @type {Lock | null} */ lock) => {
      resolve(lock !== null);
      return lock === null ? undefined : new Promise(() => {});
    };
    navigator.locks.request(`phone ${place}`, options, hold).catch(() => resolve(false));
  });
}

/**
 * @param {number} place
 * @returns {import("./types.js").User}
 */
function personAt(place) {
  const number = String(place + 1).padStart(4, "0");
  return PEOPLE[place] ?? {
    name: `Caller ${place + 1}`,
    phone: `491555000${number}`,
    user_id: `DE.90000000000000${number}`,
    username: null,
  };
}
