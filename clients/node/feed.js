/**
 * Feed of published messages: the sockets and the clock around the state machine of follow.js.
 *
 * This module knows ZeroMQ and the clock. It must not know what a message means.
 */

import { randomUUID } from 'node:crypto';

import { decode, encode } from '@msgpack/msgpack';
import * as zmq from 'zeromq';

import { curve, watch } from './admission.js';
import { Commands } from './commands.js';
import { Follow } from './follow.js';

/** @typedef {import('./messages.js').Event} Event */

/** Limit of events that wait for the application. Beyond this limit messages stay in ZeroMQ's queue. */
const AHEAD = 1000;

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
   * @param {{pub: string, rep: string, prefixes: string[], root?: string, keys?: import('./keys.js').Keys,
   *   receiveHighWaterMark?: number, receiveBufferSize?: number}} options
   * `pub` and `rep` are the daemon's `bus.pub` and `bus.rep`. `root` is the daemon's `bus.prefix` and a dot, if the prefix
   * is set. `keys` are for endpoints that demand them. The other options are socket options.
   */
  constructor({ pub, rep, prefixes, root, keys, receiveHighWaterMark = 100_000, receiveBufferSize }) {
    this.#follow = new Follow(prefixes, root);
    this.#commands = new Commands(rep, undefined, { keys });
    this.#subscriber = new zmq.Subscriber({
      ipv6: pub.includes('['),
      linger: 0,
      receiveHighWaterMark,
      reconnectMaxInterval: 1000,
      ...(receiveBufferSize === undefined ? {} : { receiveBufferSize }),
      ...curve(pub, keys),
    });
    watch(this.#subscriber, pub, keys, (error) => this.#fail(error));
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
      this.#follow.received(topic.toString(), /** @type {import('./messages.js').Body} */ (decode(body)));
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
