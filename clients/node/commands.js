/**
 * Command socket: a command is sent again until its reply comes, and the daemon executes it once.
 *
 * This module knows ZeroMQ and the clock. It must not know what a command means.
 */

import { randomUUID } from 'node:crypto';

import { decode, encode } from '@msgpack/msgpack';
import * as zmq from 'zeromq';

import { Closed, Refused, Unanswered } from './errors.js';

/** @typedef {import('./messages.js').Reply} Reply */

/** @param {unknown} error */
const isTimeout = (error) => /** @type {NodeJS.ErrnoException} */ (error).code === 'EAGAIN';

/** Command socket, which sends one command at a time. */
export class Commands {
  /** @type {zmq.Request} */
  #socket;
  #timeout;
  /** @type {Promise<unknown>} */
  #before = Promise.resolve();

  /**
   * @param {string} endpoint  The daemon's `bus.rep`.
   * @param {string | undefined} client  Your client name; not needed for `ping`, `status`, `snapshot` and `replay`.
   * @param {{timeout?: number}} options  Milliseconds to wait for a reply before the command is sent again.
   */
  constructor(endpoint, client, { timeout = 1000 } = {}) {
    this.client = client;
    this.#timeout = timeout;
    this.#socket = new zmq.Request({
      correlate: true,
      immediate: true,
      ipv6: endpoint.includes('['),
      linger: 0,
      receiveTimeout: timeout,
      relaxed: true,
      sendTimeout: timeout,
    });
    this.#socket.connect(endpoint);
  }

  close() {
    this.#socket.close();
  }

  /**
   * Sends a command again until its reply comes, for `patience` milliseconds. The daemon executes the command once, however
   * often it arrives. That holds for orders, changes and cancels over a restart of the daemon too, because of their keys.
   *
   * @param {string} cmd
   * @param {Record<string, any>} args
   * @param {{key?: string, id?: string, patience?: number}} options
   * @returns {Promise<Reply>} the accepting reply; `dup` is true if the daemon executed the command before
   * @throws {Refused | Unanswered | Closed}
   */
  async call(cmd, args = {}, { key, id = randomUUID(), patience = 10_000 } = {}) {
    const until = Date.now() + patience;
    const command = { id, cmd, args, client: this.client, key, not_after: until * 1000 };
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
    for (;;) {
      try {
        if (!sent) await this.#socket.send(frame);
        sent = true;
        const [answer] = await this.#socket.receive();
        return answer.length ? /** @type {Reply} */ (decode(answer)) : null;
      } catch (error) {
        if (this.#socket.closed) throw new Closed('this client is closed', sent ? 'unknown' : 'not_sent');
        if (!isTimeout(error)) throw error;
        // The reply to an earlier try ends the wait too soon, and ZeroMQ drops that reply. Sending again at once for
        // each such reply would cause as many more, without end.
        if (!sent) return undefined;
        if (Date.now() >= until) return null;
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
