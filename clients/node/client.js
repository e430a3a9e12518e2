/**
 * The two sockets of ibbridge: `Feed` follows what is published, `Commands` sends commands.
 *
 * It knows ZeroMQ and the clock. What a message means for the streams is follow.js's business, and what an order means is
 * the application's.
 */

import { randomUUID } from 'node:crypto';

import { decode, encode } from '@msgpack/msgpack';
import * as zmq from 'zeromq';

import { Follow } from './follow.js';

/**
 * @typedef {import('./follow.js').Reply} Reply
 * @typedef {import('./follow.js').Event} Event
 */

/** Events that may wait for the application; beyond that nothing is received, and ZeroMQ queues. */
const AHEAD = 1000;

/** What must not be done a second time. */
const ORDERS = new Set(['placeOrder', 'exerciseOptions']);

/** The daemon said no. `outcome` says whether anything can have reached TWS. */
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

/** No reply: whether the command was carried out is not known. */
export class Unanswered extends Error {}

/** @param {unknown} error */
const isTimeout = (error) => /** @type {NodeJS.ErrnoException} */ (error).code === 'EAGAIN';

/** Commands, one after the other. */
export class Commands {
  /** @type {zmq.Request} */
  #socket;
  #timeout;
  /** @type {Promise<unknown>} */
  #before = Promise.resolve();

  /**
   * @param {string} endpoint  The daemon's `bus.rep`.
   * @param {string | undefined} client  Who you are; not needed for `ping`, `status`, `snapshot` and `replay`.
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
   * Sends a command until it is answered, for `patience` milliseconds: the daemon does it once, however often it comes.
   *
   * @param {string} cmd
   * @param {Record<string, any>} args
   * @param {{key?: string, id?: string, patience?: number}} options
   * @returns {Promise<Reply>} an accepting one; `dup` is true if the command was carried out before
   * @throws {Refused | Unanswered}
   */
  async call(cmd, args = {}, { key, id = randomUUID(), patience = 10_000 } = {}) {
    const until = Date.now() + patience;
    // The daemon remembers commands for one epoch: after a restart the same order would be a second one. So it names its.
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
   * One try.
   * @param {Uint8Array} frame
   * @returns {Promise<Reply | null>} null if no reply has come in time, or an empty one: nobody knows what was done
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
          // The reply to an earlier try, which ZeroMQ drops, ends the wait too soon. To send again at once for each of
          // those would bring as many more, without end.
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
 * What is published under some prefixes, without a hole or a duplicate: an async iterable of the events of follow.js.
 *
 * Take them as fast as you can. Whoever is slow does not lose anything as long as the daemon has it still.
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
   * `pub` and `rep` are the daemon's `bus.pub` and `bus.rep`, `root` is its `bus.prefix` and a dot if it has one; the rest
   * are options of the socket.
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
   * Follows these prefixes, too: `topics` of a reply, say. Their state comes first, and then `ready` for each.
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

  /** How many events are waiting to be taken. */
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
        this.#events.unshift(...events.slice(told)); // whoever leaves the loop may come back
      }
    }
  }

  /** @param {unknown} error */
  #fail(error) {
    if (this.#closed) return; // what was under way when the sockets were closed
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

  /** Waits for three heartbeats, from now. */
  #watch() {
    clearTimeout(this.#alarm);
    this.#alarm = setTimeout(() => {
      if (this.#events.length > AHEAD) return this.#watch(); // nobody has listened
      this.#follow.silent();
      this.#collect();
    }, 3000 * this.#follow.heartbeat);
  }
}

/** Something that several tasks wait for, each until the next time. */
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
