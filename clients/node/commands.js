/**
 * Command socket: a command is sent again until its reply comes, and the daemon executes it once.
 *
 * This module knows ZeroMQ and the clock. It must not know what a command means.
 */

import { randomUUID } from 'node:crypto';

import { decode, encode } from '@msgpack/msgpack';
import * as zmq from 'zeromq';

import { curve, watch } from './admission.js';
import { Closed, Refused, Unanswered } from './errors.js';

/**
 * @typedef {import('./messages.js').Reply} Reply
 * @typedef {{keep?: boolean, wait?: boolean, marketDataType?: 1 | 2 | 3 | 4}} Lease
 * Words about a subscription, beside IB's arguments. `keep`: it outlives this program. `wait`: it waits for a line if there
 * is none. `marketDataType` (of a `reqMktData`): live, frozen, delayed, or delayed and frozen, for this subscription alone.
 */

/** @param {unknown} error */
const isTimeout = (error) => /** @type {NodeJS.ErrnoException} */ (error).code === 'EAGAIN';

/** Command socket, which sends one command at a time. */
export class Commands {
  /** @type {zmq.Request} */
  #socket;
  #timeout;
  #endpoint;
  #keys;
  #closed = false;
  #busy = false;
  /** True if the socket was refused, and may not connect again by itself. */
  #stale = false;
  /** @type {import('./errors.js').AuthError | undefined} */
  #refusal;
  /** @type {Promise<unknown>} */
  #before = Promise.resolve();

  /**
   * @param {string} endpoint  The daemon's `bus.rep`.
   * @param {string | undefined} client  Your client name; not needed for `ping`, `status`, `snapshot` and `replay`.
   * @param {{timeout?: number, keys?: import('./keys.js').Keys}} options  `timeout`: milliseconds to wait for a reply before
   *   the command is sent again. `keys`: for an endpoint that demands them.
   */
  constructor(endpoint, client, { timeout = 1000, keys } = {}) {
    this.client = client;
    this.#timeout = timeout;
    this.#endpoint = endpoint;
    this.#keys = keys;
    this.#socket = this.#connected();
  }

  #connected() {
    const socket = new zmq.Request({
      correlate: true,
      immediate: true,
      ipv6: this.#endpoint.includes('['),
      linger: 0,
      receiveTimeout: this.#timeout,
      reconnectMaxInterval: 1000,
      relaxed: true,
      sendTimeout: this.#timeout,
      ...curve(this.#endpoint, this.#keys),
    });
    watch(socket, this.#endpoint, this.#keys, (error) => {
      if (this.#closed || socket !== this.#socket) return;
      if (this.#busy) this.#refusal = error;
      if (this.#busy) this.#renew(); // which ends the wait of the command
      else this.#stale = true;
    });
    socket.connect(this.#endpoint);
    return socket;
  }

  #renew() {
    const socket = this.#socket;
    this.#stale = false;
    this.#socket = this.#connected();
    socket.close();
  }

  close() {
    this.#closed = true;
    this.#socket.close();
  }

  /**
   * Sends a command again until its reply comes, for `patience` milliseconds. The daemon executes the command once, however
   * often it arrives. That holds for orders, changes and cancels over a restart of the daemon too, because of their keys.
   *
   * @param {string} cmd
   * @param {Record<string, any>} args
   * @param {{key?: string, id?: string, patience?: number} & Lease} options
   * @returns {Promise<Reply>} the accepting reply; `dup` is true if the daemon executed the command before
   * @throws {AuthError | Refused | Unanswered | Closed}
   */
  async call(cmd, args = {}, { key, id = randomUUID(), patience = 10_000, ...lease } = {}) {
    const until = Date.now() + patience;
    const command = { id, cmd, args: { ...args, ...lease }, client: this.client, key, not_after: until * 1000 };
    const frame = encode(command, { ignoreUndefined: true });
    /** @type {'not_sent' | 'unknown'} */
    let outcome = 'not_sent';
    for (;;) {
      const reply = await this.#tried(cmd, frame, outcome);
      // The daemon knows no deadline of a first try whose reply was lost with an earlier daemon.
      const late = outcome === 'unknown' && reply?.error?.code === 'E_DEADLINE';
      if (reply?.ok) return reply;
      if (reply && !late) throw new Refused(cmd, /** @type {import('./messages.js').Fault} */ (reply.error));
      if (reply === null) outcome = 'unknown';
      if (late || Date.now() > until) throw new Unanswered(silence(cmd, patience, outcome, key), outcome, key);
    }
  }

  /**
   * @param {string} cmd
   * @param {Uint8Array} frame
   * @param {'not_sent' | 'unknown'} outcome
   */
  async #tried(cmd, frame, outcome) {
    try {
      return await this.once(frame);
    } catch (error) {
      if (!(error instanceof Closed) || error.outcome === 'unknown' || outcome === 'not_sent') throw error;
      throw new Closed(`${cmd}: the client was closed before the daemon replied`, outcome);
    }
  }

  /**
   * Sends a command once, and waits for its reply.
   * @param {Uint8Array} frame
   * @returns {Promise<Reply | null | undefined>} null if no reply has come in time, or an empty one: the outcome is
   *   unknown; undefined if nothing was sent, because there is no daemon
   */
  once(frame) {
    const reply = this.#before.then(() => this.#exchange(frame));
    this.#before = reply.catch(() => {});
    return reply;
  }

  /** @param {Uint8Array} frame */
  async #exchange(frame) {
    const until = Date.now() + this.#timeout;
    let sent = false;
    this.#refusal = undefined;
    if (this.#stale && !this.#closed) this.#renew();
    this.#busy = true;
    for (;;) {
      try {
        if (!sent) await this.#socket.send(frame);
        sent = true;
        const [answer] = await this.#socket.receive();
        this.#busy = false;
        return answer.length ? /** @type {Reply} */ (decode(answer)) : null;
      } catch (error) {
        if (this.#closed) throw new Closed('this client is closed', sent ? 'unknown' : 'not_sent');
        if (this.#refusal) {
          this.#busy = false;
          throw Object.assign(this.#refusal, { outcome: sent ? 'unknown' : 'not_sent' });
        }
        if (!isTimeout(error)) throw error;
        // The reply to an earlier try ends the wait too soon, and ZeroMQ drops that reply. Sending again at once for
        // each such reply would cause as many more, without end.
        if (sent && Date.now() < until) continue;
        this.#busy = false;
        return sent ? null : undefined;
      }
    }
  }
}

/**
 * @param {string} cmd
 * @param {number} patience
 * @param {'not_sent' | 'unknown'} outcome
 * @param {string | undefined} key
 */
function silence(cmd, patience, outcome, key) {
  if (outcome === 'not_sent') {
    return `${cmd}: there is no daemon; nothing was sent. Is ibbridge running? Is this the bus.rep of its configuration?`;
  }
  const repeat = key === undefined ? '' : `: the same command again, with the key '${key}', is safe`;
  return `${cmd}: no reply in ${patience} ms. The daemon may have executed it${repeat}`;
}
