/** Subscription to one prefix, and the streams under it. */

import { Pages, snapshot } from './pages.js';
import { Stream } from './stream.js';

/**
 * @typedef {import('./delivery.js').Delivery} Delivery
 * @typedef {import('./messages.js').Page} Page
 * @typedef {import('./messages.js').Request} Request
 * @typedef {import('./messages.js').State} State
 */

const DURABLE = new Set(['ord', 'exec', 'acct', 'sys']);

/** Subscription to one prefix. */
export class Prefix {
  welcomed = false;
  /** True once every stream under the prefix has been placed in this epoch. */
  synced = false;
  /** True if the prefix was synced with this store: a durable stream that is unknown since then had no messages. */
  complete = false;
  /** True if another welcome is wanted, because it was lost, or because it shows which messages have arrived. */
  unwelcomed = false;
  /** @type {Set<Stream>} streams that wait until all messages that the snapshot may have overtaken have arrived */
  waiting = new Set();
  /** @type {Map<string, Stream>} */
  streams = new Map();
  /** @type {Pages | null} the snapshot that is wanted */
  #pages = null;
  /** Heartbeats since the subscription, while no welcome has come. */
  #waits = 0;
  /** True once `ready` was delivered in this epoch. */
  #announced = false;
  #root;
  #delivery;

  /**
   * @param {string} text
   * @param {string} root  The daemon's configured topic prefix with its dot.
   * @param {Delivery} delivery
   */
  constructor(text, root, delivery) {
    const parts = text.slice(root.length).split('.');
    this.text = text;
    /** True if the prefix covers whole streams, so that gaps can be noticed. */
    this.whole = parts.length < 3 || (parts.length === 3 && parts[2] === '');
    this.#root = root;
    this.#delivery = delivery;
  }

  /**
   * Returns the stream of this name, which begins with its first message if the state of all streams is known.
   * @param {string} name
   */
  stream(name) {
    let stream = this.streams.get(name);
    if (!stream) {
      stream = new Stream(name, DURABLE.has(name.slice(this.#root.length).split('.', 1)[0]), this, this.#delivery);
      stream.open = this.synced;
      stream.placed = this.synced || (stream.durable && this.complete);
      this.streams.set(name, stream);
    }
    return stream;
  }

  // --- welcomes and snapshots -----------------------------------------------------------------------------------------

  /** Notes that the subscription is in effect: from here on no message is missed unnoticed. */
  welcome() {
    if (this.welcomed) return;
    this.welcomed = true;
    this.#pages = new Pages();
  }

  /** Notes a heartbeat. If no welcome has come with the second one, the welcome was lost. */
  wait() {
    if (!this.welcomed && ++this.#waits % 2 === 0) this.unwelcomed = true;
  }

  /** Requests the state of a stream to begin with. */
  begin() {
    this.#pages = new Pages();
    this.synced = false;
  }

  /** Requests a snapshot from its first page, which shows how far the streams are. The epoch, and so `last`, stay valid. */
  askAgain() {
    if (!this.welcomed) return;
    this.#pages = new Pages();
    if (this.whole) return;
    this.synced = this.#announced = false;
    this.streams.clear();
    this.waiting.clear();
  }

  /** @returns {Request | null} the snapshot that is wanted */
  request() {
    if (!this.welcomed || !this.#pages) return null;
    const pages = this.#pages;
    return snapshot(this.text, pages, (page) => this.#page(pages, page));
  }

  /**
   * @param {Pages} pages
   * @param {Page} page
   */
  #page(pages, page) {
    for (const state of pages.add(page)) this.#find(this.stream(state.stream), state);
    if (this.waiting.size) this.unwelcomed = true;
    if (pages.after !== null) return;
    this.#pages = null;
    if (this.synced) return;
    for (const stream of this.streams.values()) {
      if (!stream.open && !stream.found) stream.place({ stream: stream.name, seq: 0, messages: [] });
    }
    this.synced = true;
    this.#announce();
  }

  /**
   * Places a stream with its state from a snapshot, at once, or after the messages that the snapshot may have overtaken.
   * @param {Stream} stream
   * @param {State} state
   */
  #find(stream, state) {
    const waits = !stream.placed && !stream.kept.length && state.seq && (state.offset ?? 0) > this.#delivery.offset;
    if (!waits) return stream.place(state);
    stream.found = state;
    this.waiting.add(stream);
  }

  /** Places the streams whose messages have all arrived that the snapshot may have overtaken. */
  arrived() {
    for (const stream of this.waiting) {
      if (stream.found && (stream.found.offset ?? 0) <= this.#delivery.offset) stream.place(stream.found);
    }
    this.#announce();
  }

  #announce() {
    if (!this.synced || this.#announced || this.waiting.size) return;
    this.#announced = true;
    this.complete = this.whole;
    this.#delivery.tell({ event: 'ready', prefix: this.text });
  }

  // --- epochs and stores ------------------------------------------------------------------------------------------------

  /**
   * Notes that no more messages of this epoch will come.
   * @param {number} since  Offset of the first welcome in this epoch.
   */
  end(since) {
    if (!this.whole) return;
    for (const stream of this.waiting) {
      // Messages under way can be replayed: at most this many there were.
      if (stream.durable && stream.found) stream.place(stream.found, (stream.found.offset ?? 0) - since);
    }
  }

  /**
   * Begins an epoch.
   * @param {number} seen  The epoch that has ended.
   */
  restart(seen) {
    for (const stream of this.streams.values()) stream.suspend(seen);
    this.welcomed = this.synced = this.#announced = false;
    this.#pages = null;
    this.#waits = 0;
  }

  /**
   * Ends the durable streams, because the daemon has another store.
   * @param {number[]} between  Epochs of which the store, and so the meaning of sequence numbers, is unknown.
   */
  renew(between) {
    for (const stream of this.streams.values()) {
      if (!stream.durable) continue;
      stream.kept = stream.kept.filter(({ body }) => body.epoch === this.#delivery.epoch || !between.includes(body.epoch));
      stream.abandon('store');
    }
    this.complete = false;
  }
}
