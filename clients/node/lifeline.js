/**
 * Lifeline: tells the daemon that a program is there, from a timer, and that it goes.
 *
 * A process that dies closes the sockets, and the daemon sees that. This module must not know orders or messages.
 */

import { randomUUID } from 'node:crypto';

import { encode } from '@msgpack/msgpack';

import { Commands } from './commands.js';
import { Refused, Unanswered } from './errors.js';

/**
 * @typedef {'never' | 'loss' | 'logout' | 'both'} CancelOn  Ends of a program's life that cancel its orders.
 * @typedef {{ttl?: number, window?: number, cancelOnDisconnect?: CancelOn}} Life
 * What is to hold for a program. `ttl` is the time in milliseconds without a word after which it is lost.
 * `cancelOnDisconnect` says when the daemon cancels its open orders, and `window` is the time in milliseconds that it has
 * to come back before that. What is left out is as the daemon is configured (15,000, `never`, 5,000).
 */

/** Milliseconds without a word after which a program is lost, until the daemon's reply says otherwise. */
const TTL = 15_000;

/** Words in one `ttl`: one may be lost, and another late. */
const SHARE = 3;

/** Milliseconds to wait for a reply. */
const PATIENCE = 2000;

/** Milliseconds to wait for the reply to a logout. The daemon takes a program that goes without one for lost. */
const LEAVING = 1000;

/** Milliseconds before a word that had no reply is repeated. */
const AGAIN = 500;

/** Lifeline of one program, from `begin` to `end`. There is one for each name of a client. */
export class Lifeline {
  #commands;
  #client;
  #said;
  #pause;
  #epoch = 0;
  #begun = false;
  #over = false;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** @type {Promise<void> | undefined} */
  #ended;

  /**
   * @param {string} rep  The daemon's `bus.rep`.
   * @param {string} client  Your client name.
   * @param {Life & {keys?: import('./keys.js').Keys}} options
   */
  constructor(rep, client, { ttl, window, cancelOnDisconnect, keys } = {}) {
    this.#commands = new Commands(rep, client, { keys, timeout: PATIENCE });
    this.#client = client;
    this.#said = {
      run: randomUUID(),
      ...(ttl === undefined ? {} : { ttl: ttl / 1000 }),
      ...(window === undefined ? {} : { window: window / 1000 }),
      ...(cancelOnDisconnect === undefined ? {} : { cancel_on_disconnect: cancelOnDisconnect }),
    };
    this.#pause = (ttl ?? TTL) / SHARE;
  }

  /**
   * Says hello, and from then on that the program is there, also while it is idle. What the program subscribes to
   * afterwards ends with it, unless it is to be kept.
   * @param {number} patience  Milliseconds to wait for the reply.
   * @throws {Refused | Unanswered | AuthError}  `Refused` if the daemon refuses what is asked for.
   */
  async begin(patience = 10_000) {
    this.#begun = true;
    const until = Date.now() + patience;
    let wait = await this.#speak();
    while (wait === undefined && Date.now() < until) wait = await this.#speak();
    if (wait === undefined) {
      throw new Unanswered(`hello: no reply in ${patience} ms. Is ibbridge running? Is this the bus.rep of its configuration?`);
    }
    this.#later(wait);
  }

  /**
   * Ends with a logout, or without a word, which counts as a loss. Closes the socket at the latest after a second.
   * @param {{logout?: boolean}} options
   * @returns {Promise<void>} settled when the daemon has heard it; never rejected
   */
  end({ logout = true } = {}) {
    this.#ended ??= this.#leave(logout);
    return this.#ended;
  }

  /** @param {boolean} logout */
  async #leave(logout) {
    this.#over = true;
    clearTimeout(this.#timer);
    if (logout && this.#begun) {
      /** @type {NodeJS.Timeout | undefined} */
      let timer;
      const late = new Promise((resolve) => { timer = setTimeout(resolve, LEAVING); });
      await Promise.race([this.#ask('logout', {}).catch(() => {}), late]);
      clearTimeout(timer);
    }
    this.#commands.close();
  }

  /** @param {number} wait */
  #later(wait) {
    if (this.#over) return;
    this.#timer = setTimeout(() => {
      this.#speak().then((next) => this.#later(next ?? AGAIN), () => this.#later(AGAIN));
    }, wait);
    this.#timer.unref(); // a program that has nothing else to do may end
  }

  /**
   * Says hello to a daemon that has not heard it, or else that the program is there.
   * @returns {Promise<number | undefined>} milliseconds until the next word; undefined if there was no reply
   */
  async #speak() {
    const reply = this.#epoch ? await this.#ask('alive', {}) : await this.#ask('hello', this.#said);
    if (!reply) return undefined;
    if (!reply.ok) {
      const demands = Object.keys(this.#said).length > 1;
      if (!this.#epoch && demands) throw new Refused('hello', /** @type {import('./messages.js').Fault} */ (reply.error));
      return this.#pause; // an older daemon, or a policy without the command
    }
    if (this.#epoch && reply.epoch !== this.#epoch) { // another daemon, which has to hear the hello
      this.#epoch = 0;
      return 0;
    }
    this.#epoch = reply.epoch;
    if (reply.result.ttl) this.#pause = (reply.result.ttl * 1000) / SHARE;
    return this.#pause;
  }

  /**
   * @param {string} cmd
   * @param {Record<string, any>} args
   */
  #ask(cmd, args) {
    return this.#commands.once(encode({ id: randomUUID(), cmd, args, client: this.#client }));
  }
}
