/**
 * Client of ibbridge's two sockets: `Feed` receives published messages, `Commands` sends commands.
 *
 * This module knows ZeroMQ and the clock. follow.js knows what a message means for the streams, and the application knows
 * what an order means.
 */

import { randomUUID } from 'node:crypto';

import { decode, encode } from '@msgpack/msgpack';
import * as zmq from 'zeromq';

import { Follow } from './follow.js';

/**
 * @typedef {import('./follow.js').Reply} Reply
 * @typedef {import('./follow.js').Event} Event
 */

/** Limit of events that wait for the application. Beyond this limit messages stay in ZeroMQ's queue. */
const AHEAD = 1000;

/** Commands that must never be executed twice. */
const ORDERS = new Set(['placeOrder', 'exerciseOptions']);

/** Command that the daemon refused. `outcome` says whether anything can have reached TWS. */
export class Refused extends Error {
  /**
   * @param {string} cmd
   * @param {import('./follow.js').Fault} fault
   */
  constructor(cmd, fault) {
    super(`${cmd}: ${fault.code}: ${[fault.message, ...(fault.faults ?? [])].join('; ')}`);
    this.code = fault.code;
    this.outcome = fault.outcome;
    this.fault = fault;
  }
}

/** Command without a reply: the daemon may or may not have executed it. */
export class Unanswered extends Error {}

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
   * often it arrives.
   *
   * @param {string} cmd
   * @param {Record<string, any>} args
   * @param {{key?: string, id?: string, patience?: number}} options
   * @returns {Promise<Reply>} the accepting reply; `dup` is true if the daemon executed the command before
   * @throws {Refused | Unanswered}
   */
  async call(cmd, args = {}, { key, id = randomUUID(), patience = 10_000 } = {}) {
    const until = Date.now() + patience;
    // The daemon remembers commands for one epoch: after a restart the same order would be a second one. So an order
    // names the epoch that it is for.
    const epoch = ORDERS.has(cmd) ? await this.#epoch(until) : undefined;
    const command = { id, cmd, args, client: this.client, key, not_after: until * 1000, epoch };
    const frame = encode(command, { ignoreUndefined: true });
    let reply = await this.once(frame);
    let again = false;
    while (reply === null) {
      if (Date.now() > until) throw new Unanswered(`${cmd}: no reply in ${patience} ms`);
      reply = await this.once(frame);
      again = true;
    }
    if (again && !reply.ok && reply.error?.code === 'E_NOT_SYNCED') {
      throw new Unanswered(`${cmd}: the daemon was restarted before it answered; look for '${key ?? args.key}' before you repeat it`);
    }
    if (!reply.ok) throw new Refused(cmd, /** @type {import('./follow.js').Fault} */ (reply.error));
    return reply;
  }

  /** @param {number} until */
  async #epoch(until) {
    for (;;) {
      const reply = await this.once(encode({ id: randomUUID(), cmd: 'ping', args: {} }));
      if (reply) return reply.epoch;
      if (Date.now() > until) throw new Unanswered('the daemon does not answer');
    }
  }

  /**
   * Sends a command once, and waits for its reply.
   * @param {Uint8Array} frame
   * @returns {Promise<Reply | null>} null if no reply has come in time, or an empty one: the outcome is unknown
   */
  once(frame) {
    const reply = this.#before.then(async () => {
      const until = Date.now() + this.#timeout;
      try {
        await this.#socket.send(frame);
      } catch (error) {
        if (isTimeout(error)) return null;
        throw error;
      }
      for (;;) {
        try {
          const [answer] = await this.#socket.receive();
          return answer.length ? /** @type {Reply} */ (decode(answer)) : null;
        } catch (error) {
          // The reply to an earlier try ends the wait too soon, and ZeroMQ drops that reply. Sending again at once for
          // each such reply would cause as many more, without end.
          if (isTimeout(error) && Date.now() < until) continue;
          if (isTimeout(error)) return null;
          throw error;
        }
      }
    });
    this.#before = reply.catch(() => {});
    return reply;
  }
}

/**
 * Feed of the messages under some prefixes, without a hole or a duplicate: an async iterable of the events of follow.js.
 *
 * Take the events as fast as you can. A slow application loses no message that the daemon still keeps.
 */
export class Feed {
  #follow;
  #subscriber;
  #commands;
  /** @type {Event[]} */
  #events = [];
  #changed = new Signal();
  #closed = false;
  /** @type {NodeJS.Timeout | undefined} */
  #alarm;
  /** @type {unknown} */
  #failure;

  /**
   * @param {{pub: string, rep: string, prefixes: string[], root?: string,
   *   receiveHighWaterMark?: number, receiveBufferSize?: number}} options
   * `pub` and `rep` are the daemon's `bus.pub` and `bus.rep`. `root` is the daemon's `bus.prefix` and a dot, if the prefix
   * is set. The other options are socket options.
   */
  constructor({ pub, rep, prefixes, root, receiveHighWaterMark = 100_000, receiveBufferSize }) {
    this.#follow = new Follow(prefixes, root);
    this.#commands = new Commands(rep, undefined);
    this.#subscriber = new zmq.Subscriber({
      ipv6: pub.includes('['),
      linger: 0,
      receiveHighWaterMark,
      reconnectMaxInterval: 1000,
      ...(receiveBufferSize === undefined ? {} : { receiveBufferSize }),
    });
    this.#subscriber.connect(pub);
    this.#subscriber.subscribe(...this.#follow.subscriptions);
    this.#watch();
    for (const task of [this.#receive(), this.#ask()]) task.catch((error) => this.#fail(error));
  }

  /**
   * Follows more prefixes, such as the `topics` of a reply. Their state comes first, and then `ready` for each.
   * @param {string[]} prefixes
   */
  follow(...prefixes) {
    if (this.#closed) throw new Error('the feed is closed');
    const added = this.#follow.follow(prefixes);
    if (added.length) this.#subscriber.subscribe(...added);
  }

  get epoch() {
    return this.#follow.epoch;
  }

  /** Number of events that wait for the application. */
  get waiting() {
    return this.#events.length;
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#alarm);
    this.#subscriber.close();
    this.#commands.close();
    this.#changed.fire();
  }

  /** @returns {AsyncGenerator<Event, void, void>} */
  async *[Symbol.asyncIterator]() {
    while (true) {
      while (!this.#events.length && !this.#closed) await this.#changed.wait();
      if (this.#failure) throw this.#failure;
      if (this.#closed) return;
      const events = this.#events;
      this.#events = [];
      this.#changed.fire();
      let told = 0;
      try {
        while (told < events.length) yield events[told++];
      } finally {
        this.#events.unshift(...events.slice(told)); // the application may leave the loop and iterate again later
      }
    }
  }

  /** @param {unknown} error */
  #fail(error) {
    if (this.#closed) return; // closing the sockets makes pending calls fail
    this.#failure = error;
    this.close();
  }

  #collect() {
    const again = this.#follow.unwelcomed();
    if (again.length) this.#subscriber.subscribe(...again);
    for (const event of this.#follow.take()) this.#events.push(event);
    this.#changed.fire();
  }

  async #room() {
    while (this.#events.length > AHEAD && !this.#closed) await this.#changed.wait();
  }

  async #receive() {
    for await (const [topic, body] of this.#subscriber) {
      const beats = this.#follow.beats;
      this.#follow.received(topic.toString(), /** @type {import('./follow.js').Body} */ (decode(body)));
      if (this.#follow.beats > beats) this.#watch();
      this.#collect();
      await this.#room();
    }
  }

  async #ask() {
    while (!this.#closed) {
      await this.#room();
      const request = this.#follow.request();
      if (!request) {
        await this.#changed.wait();
        continue;
      }
      const { cmd, args } = request;
      const reply = await this.#commands.once(encode({ id: randomUUID(), cmd, args }));
      if (!reply) continue;
      this.#follow.answered(request, reply);
      this.#collect();
    }
  }

  /** Starts, or restarts, the wait for three heartbeat intervals after which the daemon counts as silent. */
  #watch() {
    clearTimeout(this.#alarm);
    this.#alarm = setTimeout(() => {
      if (this.#events.length > AHEAD) return this.#watch(); // receiving is paused, so heartbeats wait in the queue
      this.#follow.silent();
      this.#collect();
    }, 3000 * this.#follow.heartbeat);
  }
}

/** Signal that several tasks can wait for; `fire` wakes all of them once. */
class Signal {
  /** @type {(() => void)[]} */
  #waiting = [];

  /** @returns {Promise<void>} */
  wait() {
    return new Promise((resolve) => { this.#waiting.push(resolve); });
  }

  fire() {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
