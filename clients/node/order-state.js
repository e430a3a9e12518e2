/**
 * States of this client's orders, as the daemon publishes them, and what a program waits for.
 *
 * This module knows the messages `orderState` (docs/order-truth.md). It must not know sockets, commands or the clock.
 */

import { isDeepStrictEqual } from 'node:util';

/** Type of the messages that say what is known of an order. */
export const TYPE = 'orderState';

/** Names of the states of an order. */
export const STATES = /** @type {const} */ (
  ['queued', 'sent', 'held', 'acked', 'working', 'modifying', 'cancelling', 'unknown', 'done']);

/** Reasons for which an order is over. */
export const REASONS = /** @type {const} */ (['filled', 'cancelled', 'rejected', 'expired', 'not_sent', 'not_at_tws']);

/** States in which nothing is under way of which TWS has said nothing. */
export const SETTLED = /** @type {const} */ (['held', 'acked', 'working', 'unknown', 'done']);
const FAILED = new Set(['rejected', 'not_sent', 'not_at_tws']);

/**
 * @typedef {typeof STATES[number]} StateName
 * @typedef {typeof REASONS[number]} Reason
 * @typedef {{code: number, text: string, ts: number, own: boolean}} LastError
 * @typedef {StateName | Reason | (StateName | Reason)[] | ((state: OrderState) => boolean)} Until
 * States or reasons to wait for, or a function that says if a state is the one to wait for.
 */

/** State of an order: IB's ids, and the figures that TWS reported last. `docs/order-truth.md` has the fields. */
export class OrderState {
  /** @type {StateName} */
  state = 'queued';
  /** @type {Reason | null} */
  reason = null;
  /** @type {string | null} */
  cause = null;
  /** @type {number | null} */
  orderId = null;
  /** @type {number | null} */
  permId = null;
  /** Revision of the last change. */
  rev = 0;
  /** @type {string | null} */
  status = null;
  /** @type {number | null} */
  filled = null;
  /** @type {number | null} */
  remaining = null;
  /** @type {number | null} */
  avgFillPrice = null;
  /** @type {LastError | null} */
  lastError = null;
  /** Number of this state of the order, which rises; 0 as long as no state has come. */
  changes = 0;

  /** @param {Record<string, any>} data  Data of a message, or a row of `orders`. Other fields are left out. */
  constructor(data = {}) {
    for (const name of Object.keys(this)) {
      if (data[name] !== undefined) /** @type {Record<string, any>} */ (this)[name] = data[name];
    }
    Object.freeze(this);
  }

  /** True if the order is over. */
  get done() {
    return this.state === 'done';
  }

  /** True if the order is over, and was never at work: refused, never sent, or unknown to TWS. */
  get failed() {
    return this.done && FAILED.has(this.reason ?? '');
  }
}

/**
 * Returns the condition that ends a wait. The default is that nothing is under way of which TWS has said nothing.
 * @param {Until} until
 * @returns {(state: OrderState) => boolean}
 * @throws {RangeError} if there is no such state or reason
 */
export function condition(until = [...SETTLED]) {
  if (typeof until === 'function') return until;
  /** @type {Set<string | null>} */
  const wanted = new Set([until].flat());
  const words = [...STATES, ...REASONS];
  for (const word of wanted) {
    if (!words.some((each) => each === word)) {
      throw new RangeError(`no order is ever '${word}'; the states and reasons are ${words.join(', ')}`);
    }
  }
  return ({ state, reason }) => wanted.has(state) || wanted.has(reason);
}

/**
 * Knowledge of one order: its last state, and which change or cancel its next states must show.
 *
 * All handles of one order share it.
 */
export class KnownOrder {
  state = new OrderState();
  /** True once a message has brought a state. */
  heard = false;
  /** True once a message or a list has told a state. */
  told = false;
  /** Epoch of the message that brought the state. */
  #epoch = 0;
  #rev = 0;
  /** @type {{rev: number, changes: Record<string, any>} | null} the change whose outcome is not known */
  #attempt = null;
  #dueRev = 0;
  #dueCancel = false;
  /** @type {Set<() => void>} */
  #watchers = new Set();
  #held;

  /**
   * @param {string} key
   * @param {Set<KnownOrder>} held  Set that has this order for as long as somebody watches it.
   */
  constructor(key, held) {
    this.key = key;
    this.#held = held;
  }

  /**
   * Takes over the state that a message brings, unless it is older than the state that is known.
   * @param {{epoch: number, data?: any}} body
   */
  note({ epoch, data }) {
    const [state, former] = [new OrderState(data), this.state];
    if (epoch < this.#epoch || (epoch === this.#epoch && state.changes < former.changes)) return;
    const fails = this.heard && state.lastError !== null && !isDeepStrictEqual(state.lastError, former.lastError);
    this.state = state;
    this.heard = this.told = true;
    this.#epoch = epoch;
    if (fails || state.done || state.state === 'unknown') this.#forget();
    if (state.rev >= this.#dueRev) this.#dueRev = 0;
    if (state.state === 'cancelling') this.#dueCancel = false;
    this.#changed();
  }

  /**
   * Takes over a state that no message has brought, if none has come.
   * @param {Record<string, any>} data
   */
  suppose(data) {
    if (this.heard) return;
    this.state = new OrderState(data);
    this.told = true;
    this.#changed();
  }

  /** Takes every later message for newer, because the daemon has another store, where epochs may begin anew. */
  renew() {
    this.#epoch = 0;
  }

  /**
   * Returns true if the order is as wanted or over, after the last change and the last cancel.
   * @param {(state: OrderState) => boolean} wanted
   */
  reached(wanted) {
    return !this.#dueRev && !this.#dueCancel && (this.state.done || wanted(this.state));
  }

  /**
   * Calls `watcher` whenever more is known of the order.
   * @param {() => void} watcher
   * @returns {() => void} what ends the calls
   */
  watch(watcher) {
    this.#watchers.add(watcher);
    this.#held.add(this);
    return () => {
      this.#watchers.delete(watcher);
      if (!this.#watchers.size) this.#held.delete(this);
    };
  }

  // --- changes and cancels ------------------------------------------------------------------------------------------

  /**
   * Notes that a change of this revision is about to be sent.
   * @param {number} rev
   */
  expectChange(rev) {
    this.#rev = Math.max(this.#rev, rev);
    if (rev > this.state.rev && !this.state.done) this.#dueRev = rev;
  }

  /** Notes that a cancel is about to be sent. */
  expectCancel() {
    this.#dueCancel = !['cancelling', 'done'].includes(this.state.state);
  }

  /** Expects no change or cancel any more: it was refused, or its outcome is known. */
  giveUp() {
    this.#forget();
    this.#changed();
  }

  /**
   * Returns the revision of a change. `again` is true if the change is tried again: its first outcome is not known.
   * @param {Record<string, any>} changes
   */
  revision(changes) {
    if (this.#attempt && isDeepStrictEqual(this.#attempt.changes, changes)) return { rev: this.#attempt.rev, again: true };
    this.#rev = Math.max(this.#rev, this.state.rev) + 1;
    this.#attempt = { rev: this.#rev, changes };
    return { rev: this.#rev, again: false };
  }

  /**
   * Notes that the outcome of the last change is known, and the revision that the daemon has.
   * @param {number} rev
   */
  attempted(rev = 0) {
    this.#attempt = null;
    this.#rev = Math.max(this.#rev, rev);
  }

  #forget() {
    this.#dueRev = 0;
    this.#dueCancel = false;
  }

  #changed() {
    for (const watcher of [...this.#watchers]) watcher();
  }
}

/** Orders that somebody holds or waits for, by key. */
export class KnownOrders {
  /** @type {Map<string, WeakRef<KnownOrder>>} */
  #known = new Map();
  /** @type {Set<KnownOrder>} those that somebody waits for: a wait alone must keep them */
  #held = new Set();
  #gone = new FinalizationRegistry((/** @type {string} */ key) => {
    if (!this.get(key)) this.#known.delete(key);
  });

  /** @param {string} key */
  get(key) {
    return this.#known.get(key)?.deref();
  }

  /**
   * Returns what is known of the order of this key. From here on the states that come are noted.
   * @param {string} key
   */
  track(key) {
    let known = this.get(key);
    if (!known) {
      known = new KnownOrder(key, this.#held);
      this.#known.set(key, new WeakRef(known));
      this.#gone.register(known, key);
    }
    return known;
  }

  /** @returns {KnownOrder[]} */
  all() {
    return [...this.#known.values()].flatMap((each) => each.deref() ?? []);
  }
}
