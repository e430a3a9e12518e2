/**
 * Handle of an order that the daemon has accepted.
 *
 * This module knows what a program does with one order. It must not know sockets: `orders.js` sends the commands.
 */

import { Refused, Unanswered } from './errors.js';
import { condition, SETTLED } from './order-state.js';
import { waiting } from './waiting.js';

/**
 * @typedef {import('./order-state.js').KnownOrder} KnownOrder
 * @typedef {import('./order-state.js').OrderState} OrderState
 * @typedef {import('./order-state.js').Until} Until
 * @typedef {import('./orders.js').Orders} Orders
 */

/**
 * Order that the daemon has accepted, with its last known state: an async iterable of the states that follow.
 *
 * All handles of one order share its state. A handle stays good when the daemon is restarted.
 */
export class PlacedOrder {
  #ib;
  #known;

  /**
   * @param {Orders} ib
   * @param {KnownOrder} known
   * @param {string} cmd
   * @param {Record<string, any>} result
   * @param {boolean} dup
   */
  constructor(ib, known, cmd, result, dup = false) {
    this.#ib = ib;
    this.#known = known;
    /** Command that made or changed the order. */
    this.cmd = cmd;
    /** Result in the daemon's reply; of an order of `orders()` its contract, order and time of the last change. */
    this.result = result;
    /** True if the daemon had the same order, or the same change, before. */
    this.dup = dup;
  }

  /** Key of the order: the name that your program has given it. */
  get key() {
    return this.#known.key;
  }

  /** Last state of the order that has come. */
  get state() {
    return this.#known.state;
  }

  /**
   * Waits until the order is in one of these states, over for one of these reasons, or as the function wants it.
   *
   * The default is to wait until TWS has said something of the order, or nobody knows: no longer `queued`, `sent`,
   * `modifying` or `cancelling`. The end of the order ends every wait, so look at the state that you get. After `modify`
   * and `cancel` only states count that show the change or the cancel.
   *
   * @param {{until?: Until, timeout?: number, signal?: AbortSignal}} options  `timeout` is in milliseconds (default: the
   *   client's; Infinity: no limit). Nothing is sent or cancelled after that time, or when `signal` is aborted.
   * @returns {Promise<OrderState>}
   * @throws {Unanswered | import('./errors.js').Closed} or the reason of `signal`
   */
  async wait({ until, timeout = this.#ib.timeout, signal } = {}) {
    const [known, wanted] = [this.#known, condition(until)];
    signal?.throwIfAborted();
    if (known.reached(wanted)) return known.state;
    const late = () => new Unanswered(
      `the order '${known.key}' is ${known.state.state}: for ${timeout} ms it was not ${words(until)}`, 'unknown', known.key);
    return waiting((resolve, reject) => known.watch(() => {
      try {
        if (known.reached(wanted)) resolve(known.state);
      } catch (error) {
        reject(error); // a fault of the caller's function
      }
    }), { timeout, late, signals: [signal, this.#ib.life] });
  }

  /**
   * Yields the present state, if one has come, and then every state up to the end of the order.
   * @param {{signal?: AbortSignal}} options
   * @returns {AsyncGenerator<OrderState, void, void>}
   */
  async *states({ signal } = {}) {
    const known = this.#known;
    const states = known.told ? [known.state] : [];
    let last = known.state;
    let wake = () => {};
    const end = known.watch(() => {
      if (known.state === last) return;
      states.push(last = known.state);
      wake();
    });
    try {
      for (;;) {
        for (let state = states.shift(); state; state = states.shift()) {
          yield state;
          if (state.done) return;
        }
        await waiting((resolve) => {
          wake = () => resolve(undefined);
          if (states.length) wake();
          return () => { wake = () => {}; };
        }, { signals: [signal, this.#ib.life] });
      }
    } finally {
      end();
    }
  }

  [Symbol.asyncIterator]() {
    return this.states();
  }

  /**
   * Changes attributes of the order: `order.modify({ lmtPrice: 180.5 })`, or a whole order.
   *
   * If no reply comes (`Unanswered`), call `modify` with the same changes again: the daemon makes the change once. While
   * TWS has not reported the order, or another change or cancel is under way, the daemon refuses (`E_STATE`): `wait` first.
   *
   * @param {Record<string, any>} changes
   * @param {{rev?: number}} options  `rev` is the number of the change, which rises (default: the next).
   * @returns {Promise<PlacedOrder>}
   * @throws {Refused | Unanswered}
   */
  async modify(changes, { rev } = {}) {
    if (!changes || !Object.keys(changes).length) {
      throw new TypeError('modify what? Give an order, or attributes: modify({ lmtPrice: 180.5 })');
    }
    if (rev !== undefined) return this.#ib.modifyOrder(this, changes, rev);
    const attempt = this.#known.revision(changes);
    try {
      const made = await this.#ib.modifyOrder(this, changes, attempt.rev);
      this.#known.attempted();
      return made;
    } catch (error) {
      if (!(error instanceof Refused) || error.outcome === 'unknown') throw error;
      this.#known.attempted(error.fault.rev ?? 0);
      // The order was changed elsewhere. A change that is tried again may have been made at first.
      if (error.fault.rev === undefined || attempt.again) throw error;
      return this.modify(changes);
    }
  }

  /**
   * Cancels the order. It may still fill until its state is `done`.
   * @param {Record<string, any>} [orderCancel]  IB's orderCancel.
   * @returns {Promise<Record<string, any>>} the result in the daemon's reply
   */
  cancel(orderCancel) {
    return this.#ib.cancelOrder(this, orderCancel);
  }
}

/** @param {Until | undefined} until */
function words(until = [...SETTLED]) {
  return typeof until === 'function' ? 'as wanted' : [until].flat().join(' or ');
}
