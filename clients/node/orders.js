/**
 * Orders of one client: commands about orders, and handles that the published states fill.
 *
 * This module knows the daemon's commands about orders. It must not know what moves an order: order-state.js does.
 */

import { EventEmitter } from 'node:events';

import { decode } from '@msgpack/msgpack';

import { Commands } from './commands.js';
import { Closed, Refused, TwsError, Unanswered } from './errors.js';
import { nearest } from './keys.js';
import { Lifeline } from './lifeline.js';
import { OrderFeed } from './order-feed.js';
import { PlacedOrder } from './order-handle.js';
import { TYPE } from './order-state.js';
import { waiting } from './waiting.js';

/**
 * @typedef {import('./order-makers.js').Contract} Contract
 * @typedef {import('./order-makers.js').Member} Member
 * @typedef {import('./order-makers.js').Order} Order
 * @typedef {import('./order-state.js').KnownOrder} KnownOrder
 * @typedef {import('./order-state.js').StateName} StateName
 * @typedef {string | {key: string}} Named  Key or handle of an order.
 * @typedef {import('./lifeline.js').CancelOn} CancelOn
 * @typedef {{pub?: string, rep?: string, root?: string, timeout?: number, keys?: import('./keys.js').Keys}
 *   & import('./lifeline.js').Life} Options
 * `pub` and `rep` are the daemon's `bus.pub` and `bus.rep`. `root` is its `bus.prefix` and a dot, if the prefix is set.
 * `timeout` is the time in milliseconds for replies, and the default of waits. `keys` are for endpoints that demand them.
 * Without endpoints the client takes those of the environment, the ipc endpoints if they are there, or loopback tcp.
 * `ttl`, `window` and `cancelOnDisconnect` say what is to become of the orders if the program is lost, or closes.
 */

/** Last name given by `newName`: a count from the start in microseconds, so a later run begins above this one. */
let last = Date.now() * 1000;

/** Returns a name that no other order of this client has: short, because client and key have 40 characters together. */
const newName = () => (last += 1).toString(36);

/** @param {Named} named */
const keyOf = (named) => {
  const key = typeof named === 'string' ? named : named?.key;
  if (typeof key === 'string') return key;
  throw new TypeError(`${named} is no order: give a handle, or the key of an order`);
};

/**
 * Connects to a daemon as `client`, and waits until the states of the client's orders are known. From then on the client
 * tells the daemon from a timer that it is there.
 * @param {string} client  Name of the program, 1 to 32 printable ASCII characters, the same at each start.
 * @param {Options} options
 * @throws {AuthError | Unanswered | Refused}
 */
export async function connect(client, options = {}) {
  const ib = new Orders(client, options);
  try {
    await ib.ready();
    await ib.greet();
  } catch (error) {
    await ib.close();
    throw error;
  }
  return ib;
}

/**
 * Orders of one client; `connect` makes it.
 *
 * Emits the events of the feed that are no messages (`down`, `up`, `epoch`, `store`, `renewed`, `lost`), for programs that
 * show them, and `position` after `positions`. Handles need nothing more: their states go on by themselves.
 */
export class Orders extends EventEmitter {
  #commands;
  #feed;
  #lifeline;

  /**
   * @param {string} client
   * @param {Options} options
   */
  constructor(client, {
    keys, pub = nearest('pub', keys), rep = nearest('rep', keys), root = '', timeout = 10_000, ...life
  } = {}) {
    super();
    if (!/^[ -.0-~]{1,32}$/.test(client)) {
      throw new TypeError(`'${client}' is no name of a client: it has 1 to 32 printable ASCII characters, and no /`);
    }
    this.client = client;
    /** Time in milliseconds for replies, and the default of waits. */
    this.timeout = timeout;
    this.#commands = new Commands(rep, client, { keys });
    this.#lifeline = new Lifeline(rep, client, { ...life, keys });
    this.#feed = new OrderFeed(client, { pub, rep, root, keys }, (event) =>
      this.emit(event.event, event.event === 'position' ? event.position : event));
  }

  /** Signal that is aborted when the client is closed, or its feed fails. */
  get life() {
    return this.#feed.life;
  }

  /** Waits until the states of this client's orders are known. `connect` calls this method. */
  ready() {
    return this.#feed.ready('ord', this.timeout);
  }

  /** Says hello, and from then on that the program is there. `connect` calls this method. */
  greet() {
    return this.#lifeline.begin(this.timeout);
  }

  /**
   * Logs out, and disconnects at once; waits, iterations and pending commands throw `Closed`. Subscriptions end some seconds
   * later, unless they are to be kept. Orders live on, unless they are to be cancelled at a logout. Without `logout` the
   * program counts as lost.
   * @param {{logout?: boolean}} options
   * @returns {Promise<void>} settled when the daemon has heard the logout, or after a second: await it before you call
   *   `process.exit`
   */
  close({ logout = true } = {}) {
    this.#feed.close();
    this.#commands.close();
    return this.#lifeline.end({ logout });
  }

  // --- commands -----------------------------------------------------------------------------------------------------

  /**
   * Places an order under the program's own `key`, and returns its handle.
   *
   * The key makes a repetition safe: the same key and order again is the same order, never a second one.
   * @param {Contract} contract
   * @param {Order} order
   * @param {{key?: string, parent?: Named, cancelOnDisconnect?: CancelOn}} options  `key`: a new one if none is given.
   *   `parent`: the order that this order depends on. `cancelOnDisconnect`: in place of the client's, for this order.
   * @throws {Refused | Unanswered}
   */
  placeOrder(contract, order, { key, parent, cancelOnDisconnect } = {}) {
    const beside = { parent: parent && keyOf(parent), cancel_on_disconnect: cancelOnDisconnect };
    return this.#place('placeOrder', { contract, order, ...beside }, key);
  }

  /**
   * Exercises options, or lets them lapse: IB's exerciseOptions, which is an order with a key, too.
   * @param {Record<string, any>} args
   * @param {{key?: string}} options
   */
  exerciseOptions(args, { key } = {}) {
    return this.#place('exerciseOptions', args, key);
  }

  /**
   * Places up to 10 orders, all or none, and returns their handles. `bracket` makes such orders.
   *
   * If TWS refuses one, the daemon cancels the others, unless `onPartial` is `keep`. The same orders under the same keys
   * again are never placed twice. So give keys if you want to be able to try again.
   * @param {Member[]} members
   * @param {{onPartial?: 'cancel' | 'keep'}} options
   * @returns {Promise<PlacedOrder[]>}
   * @throws {Refused | Unanswered}
   */
  async placeOrders(members, { onPartial = 'cancel' } = {}) {
    const orders = members.map(({ key = newName(), contract, order, parent, cancelOnDisconnect }) => ({
      key, contract, order,
      ...(parent === undefined ? {} : { parent: keyOf(parent) }),
      ...(cancelOnDisconnect === undefined ? {} : { cancel_on_disconnect: cancelOnDisconnect }),
    }));
    const known = orders.map(({ key }) => this.#feed.known.track(key));
    const { result, dup } = await this.#call('placeOrders', { orders, on_partial: onPartial });
    return Promise.all(known.map((each, n) => this.#handle(each, 'placeOrders', result.orders[n], dup)));
  }

  /**
   * Changes the attributes of an order that `changes` has, as its change number `rev`. A handle's `modify` counts itself.
   * @param {Named} named
   * @param {Order} changes
   * @param {number} rev
   * @throws {Refused | Unanswered}
   */
  async modifyOrder(named, changes, rev) {
    const known = this.#feed.known.track(keyOf(named));
    known.expectChange(rev);
    const reply = await this.#attempt([known], 'modifyOrder', { rev, order: changes }, { key: known.key });
    await this.#lookUp(known);
    return new PlacedOrder(this, known, 'modifyOrder', reply.result, reply.dup);
  }

  /**
   * Cancels an order of this client, or, by IB's `permId`, one that no client of the daemon has placed.
   * @param {Named | {permId: number}} named
   * @param {Record<string, any>} [orderCancel]  IB's orderCancel.
   * @returns {Promise<Record<string, any>>} the result in the daemon's reply
   * @throws {Refused | Unanswered}
   */
  async cancelOrder(named, orderCancel) {
    if (typeof named === 'object' && 'permId' in named) {
      return (await this.#call('cancelOrder', { permId: named.permId, orderCancel })).result;
    }
    const known = this.#feed.known.track(keyOf(named));
    known.expectCancel();
    return (await this.#attempt([known], 'cancelOrder', { key: known.key, orderCancel })).result;
  }

  /**
   * Cancels these orders, or all open orders of this client.
   * @param {Named | Named[]} [named]
   * @returns {Promise<{key: string, ok: boolean, error?: import('./messages.js').Fault}[]>} a row for each order, with the
   *   `error` of one whose cancel was refused
   * @throws {Refused | Unanswered}
   */
  async cancelOrders(named) {
    const keys = named === undefined ? undefined : [named].flat().map(keyOf);
    const known = this.#feed.known.all().filter(({ key }) => !keys || keys.includes(key));
    for (const each of known) each.expectCancel();
    const { result } = await this.#attempt(known, 'cancelOrders', keys ? { keys } : { all: true });
    const taken = new Set(result.orders.filter((/** @type {any} */ { ok }) => ok).map((/** @type {any} */ { key }) => key));
    for (const each of known) if (!taken.has(each.key)) each.giveUp();
    return result.orders;
  }

  /**
   * Yields the orders that this client has ever placed, as handles.
   * @param {{state?: StateName, since?: number}} options  `state`: only orders in this state. `since`: only orders that
   *   have changed since then, in microseconds since 1970 UTC.
   * @returns {AsyncGenerator<PlacedOrder, void, void>}
   */
  async *orders({ state, since } = {}) {
    for (let after; after !== null;) {
      const { result } = await this.#call('orders', { state, since, after });
      for (const { command, ...row } of result.orders) {
        const known = this.#feed.known.track(row.key);
        known.suppose(row);
        yield new PlacedOrder(this, known, command, row);
      }
      after = result.next ?? null;
    }
  }

  /** Has the daemon compare its orders with those of TWS. What it finds comes as states of the orders. */
  async reconcile() {
    await this.#call('reconcile', {});
  }

  /**
   * Returns the positions that the executions of this client's orders add up to, for each account and instrument. A
   * position of 0 is flat. Later changes are emitted as `position`.
   * @returns {Promise<import('./order-feed.js').OwnerPosition[]>}
   * @throws {Unanswered}
   */
  async positions() {
    await this.#feed.ready('exec', this.timeout);
    return [...this.#feed.positions.values()];
  }

  /**
   * Asks TWS for margin and commission of an order without placing the order.
   * @param {Contract} contract
   * @param {Order} order
   * @param {{timeout?: number, signal?: AbortSignal}} options
   * @returns {Promise<Record<string, any>>} TWS's openOrder; its `orderState` has the figures
   * @throws {Refused | Unanswered | TwsError}
   */
  async whatIfOrder(contract, order, { timeout = this.timeout, signal } = {}) {
    await this.#feed.ready('req', this.timeout);
    const id = newName();
    const late = () => new Unanswered(`whatIfOrder: TWS has not responded for ${timeout} ms`);
    return waiting((resolve, reject) => {
      this.#call('whatIfOrder', { contract, order }, { id }).catch(reject);
      return this.#feed.expect(id, ({ type, data }) => {
        if (type === 'openOrder') resolve(data);
        if (type === 'error' && data.ends) reject(new TwsError('whatIfOrder', data));
      });
    }, { timeout, late, signals: [signal, this.life] });
  }

  /**
   * Sends any command as this client, such as a request for market data, and returns the daemon's reply. Give the `topics` of
   * the result to a `Feed`.
   * @param {string} cmd
   * @param {Record<string, any>} args
   * @param {{key?: string, id?: string, patience?: number} & import('./commands.js').Lease} options
   * @throws {Refused | Unanswered}
   */
  call(cmd, args = {}, options = {}) {
    return this.#call(cmd, args, options);
  }

  /**
   * @param {string} cmd
   * @param {Record<string, any>} args
   * @param {string} key
   */
  async #place(cmd, args, key = newName()) {
    const known = this.#feed.known.track(key);
    const { result, dup } = await this.#call(cmd, args, { key });
    return this.#handle(known, cmd, result, dup);
  }

  /**
   * Sends a change or cancel of known orders, which is expected no more if it fails.
   * @param {KnownOrder[]} known
   * @param {string} cmd
   * @param {Record<string, any>} args
   * @param {{key?: string}} options
   */
  async #attempt(known, cmd, args, options = {}) {
    try {
      return await this.#call(cmd, args, options);
    } catch (error) {
      for (const each of known) each.giveUp();
      throw error;
    }
  }

  /**
   * @param {string} cmd
   * @param {Record<string, any>} args
   * @param {{key?: string, id?: string, patience?: number} & import('./commands.js').Lease} options
   */
  async #call(cmd, args, options = {}) {
    if (this.life.aborted) throw this.life.reason instanceof Closed ? new Closed() : this.life.reason;
    const given = Object.fromEntries(Object.entries(args).filter(([, value]) => value !== undefined));
    return this.#commands.call(cmd, given, { patience: this.timeout, ...options });
  }

  // --- handles ------------------------------------------------------------------------------------------------------

  /**
   * Returns the handle of an order that was placed now, or before (`dup`).
   * @param {KnownOrder} known
   * @param {string} cmd
   * @param {Record<string, any>} result
   * @param {boolean | undefined} dup
   */
  async #handle(known, cmd, result, dup) {
    if (dup) await this.#lookUp(known);
    return new PlacedOrder(this, known, cmd, result, dup);
  }

  /**
   * Gets the state of an order that was placed before, unless the state has come.
   * @param {KnownOrder} known
   */
  async #lookUp(known) {
    if (known.heard) return;
    const prefix = this.#feed.topic('ord', known.key, TYPE);
    try {
      const { result } = await this.#call('snapshot', { prefix });
      for (const { messages } of result.streams) {
        for (const [, body] of messages) known.note(/** @type {any} */ (decode(body)));
      }
    } catch (error) {
      // The order is placed, and its state comes with its next change.
      if (![Refused, Unanswered, Closed].some((kind) => error instanceof kind)) throw error;
    }
    known.suppose({ state: 'unknown' });
  }
}
