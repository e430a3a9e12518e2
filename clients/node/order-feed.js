/**
 * Feed of the states of one client's orders, of its positions, and of the responses to its requests about orders.
 *
 * This module knows the topics of a client. It must not know commands.
 */

import { setMaxListeners } from 'node:events';

import { Closed, Unanswered } from './errors.js';
import { Feed } from './feed.js';
import { KnownOrders, TYPE } from './order-state.js';
import { topic } from './topics.js';
import { waiting } from './waiting.js';

/**
 * @typedef {import('./messages.js').Body} Body
 * @typedef {{account: string, contract: Record<string, any>, position: number, avgPrice: number, realizedPNL: number,
 *   commissions: Record<string, number>}} OwnerPosition  Position that the executions of a client's orders add up to.
 * @typedef {Exclude<import('./messages.js').Event, {event: 'message'}>
 *   | {event: 'position', position: OwnerPosition}} Event
 */

/** Type of the messages about a position of a client's own. */
const POSITION = 'ownerPosition';

/** Feed that notes the states of the orders that somebody holds. */
export class OrderFeed {
  known = new KnownOrders();
  /** @type {Map<string, OwnerPosition>} positions by account and instrument, once `exec` is followed */
  positions = new Map();
  #client;
  #root;
  #feed;
  #tell;
  #life = new AbortController();
  /** @type {Set<string>} prefixes whose state has come */
  #complete = new Set();
  /** @type {Set<() => void>} what waits for the state of a prefix */
  #waiting = new Set();
  /** @type {Map<string, (body: Body) => void>} what takes the responses, by the id of the command */
  #takers = new Map();

  /**
   * @param {string} client
   * @param {{pub: string, rep: string, root: string, keys?: import('./keys.js').Keys}} daemon
   * @param {(event: Event) => void} tell  Takes the events that are no messages.
   */
  constructor(client, { pub, rep, root, keys }, tell) {
    this.#client = client;
    this.#root = root;
    this.#tell = tell;
    this.#feed = new Feed({ pub, rep, root, keys, prefixes: [this.topic('ord')] });
    setMaxListeners(0, this.life); // as many as there are waits
    this.#hear().catch((error) => this.close(error));
  }

  /** Signal that is aborted when the feed is closed, or fails. */
  get life() {
    return this.#life.signal;
  }

  /** @param {unknown} reason */
  close(reason = new Closed('this client is closed', 'unknown')) {
    this.#life.abort(reason);
    this.#feed.close();
  }

  /**
   * Returns the topic of the client's messages of a kind, or its prefix.
   * @param {'ord' | 'exec' | 'req'} kind
   * @param {...string} rest
   */
  topic(kind, ...rest) {
    return this.#root + topic(kind, this.#client, ...rest);
  }

  /**
   * Follows a kind of the client's topics, and waits until their state has come.
   * @param {'ord' | 'exec' | 'req'} kind
   * @param {number} timeout  Milliseconds.
   */
  async ready(kind, timeout) {
    this.life.throwIfAborted();
    const prefix = this.topic(kind);
    this.#feed.follow(prefix);
    if (this.#complete.has(prefix)) return;
    const late = () => new Unanswered(`nothing is heard of ${prefix} for ${timeout} ms. Is ibbridge running? Are pub and `
      + 'rep the bus.pub and bus.rep of its configuration?', 'not_sent');
    await waiting((resolve) => {
      const look = () => { if (this.#complete.has(prefix)) resolve(undefined); };
      this.#waiting.add(look);
      return () => { this.#waiting.delete(look); };
    }, { timeout, late, signals: [this.life] });
  }

  /**
   * Passes the responses to the command of this id on.
   * @param {string} id
   * @param {(body: Body) => void} take
   * @returns {() => void} what ends that
   */
  expect(id, take) {
    this.#takers.set(id, take);
    return () => { this.#takers.delete(id); };
  }

  async #hear() {
    for await (const event of this.#feed) {
      if (event.event === 'message') this.#take(event.body);
      else this.#note(event);
    }
  }

  /** @param {Body} body */
  #take(body) {
    if (body.type === TYPE) this.known.get(body.ref?.key)?.note(body);
    else if (body.type === POSITION) this.#hold(body.data);
    else if (body.ref?.id !== undefined) this.#takers.get(body.ref.id)?.(body);
  }

  /** @param {OwnerPosition} position */
  #hold(position) {
    const { account, contract } = position;
    this.positions.set(`${account}/${contract.conId || JSON.stringify(contract)}`, position);
    this.#tell({ event: 'position', position });
  }

  /** @param {Event} event */
  #note(event) {
    if (event.event === 'ready') {
      this.#complete.add(event.prefix);
      for (const look of [...this.#waiting]) look();
    }
    if (event.event === 'store') for (const each of this.known.all()) each.renew();
    if (event.event === 'store' || (event.event === 'renewed' && event.stream === this.topic('exec'))) this.positions.clear();
    this.#tell(event);
  }
}
