/**
 * Stream follower: the recipe of docs/protocol.md for following streams without a hole or a duplicate, as a state machine.
 *
 * This module knows the protocol. It must not know sockets or clocks. Its caller reports what happens (`received`,
 * `answered`, `silent`), sends the command that the follower wants (`request`), and takes the events for the application
 * (`take`). So tests can drive the follower with tables, and with sequences that no network would ever produce.
 */

import { Delivery } from './delivery.js';
import { SubscriptionRefused } from './errors.js';
import { gapRequest } from './gap.js';
import { Prefix } from './prefix.js';

/**
 * @typedef {import('./messages.js').Body} Body
 * @typedef {import('./messages.js').Event} Event
 * @typedef {import('./messages.js').Reply} Reply
 * @typedef {import('./messages.js').Request} Request
 */

/** Number of epochs remembered, so that a late message of an ended epoch does not begin that epoch again. */
const EPOCHS = 1000;
const HEARTBEAT = 'sys.bridge.heartbeat.';

/** State machine that follows the streams under some prefixes. */
export class Follow {
  /** Offset of the first welcome in this epoch. */
  #since = 0;
  /** Seconds between heartbeats, from the welcome. */
  heartbeat = 1;
  /** Heartbeats heard so far. */
  beats = 0;
  /** Epoch of a reply from a restarted daemon that has not published anything yet; 0 if there is none. */
  #awaited = 0;
  /** @type {number[]} the last epochs, including this one, oldest first */
  #epochs = [];
  /** Name of the store, and the last epoch known to use it. */
  #store = { name: '', epoch: 0 };
  #down = false;
  /** True once a heartbeat with everything has come. */
  #whole = false;
  /** @type {number | null} the `beat` of the last heartbeat of this epoch */
  #beat = null;
  /** @type {Prefix[]} */
  #prefixes;
  /** @type {string} */
  #root;
  /** @type {Request | null} */
  #request = null;
  #delivery = new Delivery();

  /**
   * @param {string[]} prefixes  The topic prefixes to follow; none may contain another.
   * @param {string} root  The daemon's configured topic prefix with its dot.
   */
  constructor(prefixes, root = '') {
    for (const text of prefixes) {
      const other = prefixes.find((each) => each !== text && text.startsWith(each));
      if (other !== undefined) throw new Error(`'${other}' contains '${text}': follow one of them`);
      if (!text.startsWith(root)) throw new Error(`'${text}' does not begin with '${root}'`);
    }
    this.#root = root;
    this.#prefixes = [...new Set(prefixes)].map((text) => new Prefix(text, this.#root, this.#delivery));
  }

  get epoch() {
    return this.#delivery.epoch;
  }

  /**
   * Follows more prefixes.
   *
   * @param {string[]} prefixes  Prefixes that are covered already change nothing.
   * @returns {string[]} the prefixes to subscribe to
   * @throws {Error} if one contains a prefix that is followed already
   */
  follow(prefixes) {
    const added = [...new Set(prefixes)].filter((text) => !this.#prefixes.some((each) => text.startsWith(each.text)));
    for (const text of added) {
      const inner = [...this.#prefixes.map((each) => each.text), ...added].find((each) => each !== text && each.startsWith(text));
      if (inner !== undefined) throw new Error(`'${text}' contains '${inner}': follow one of them`);
      if (!text.startsWith(this.#root)) throw new Error(`'${text}' does not begin with '${this.#root}'`);
    }
    this.#prefixes.push(...added.map((text) => new Prefix(text, this.#root, this.#delivery)));
    return added;
  }

  /** Prefixes to subscribe to. */
  get subscriptions() {
    return [...this.#prefixes.map((prefix) => prefix.text), this.#root + HEARTBEAT];
  }

  /** @returns {Event[]} the events that the application has not taken yet */
  take() {
    return this.#delivery.take();
  }

  /**
   * @returns {string[]} prefixes to subscribe to again for another welcome, because their welcome was lost, or because a
   *   welcome is wanted that shows which messages have arrived
   */
  unwelcomed() {
    const prefixes = this.#prefixes.filter((each) => each.unwelcomed);
    for (const each of prefixes) each.unwelcomed = false;
    return prefixes.map(({ text }) => text);
  }

  /** @returns {Request | null} the one command to send now; the same one until it is answered or no longer wanted */
  request() {
    if (this.#awaited) return null;
    this.#request ??= this.#wanted();
    return this.#request;
  }

  /**
   * @param {string} topic
   * @param {Body} body
   */
  received(topic, body) {
    if (body.epoch !== this.epoch) {
      if (this.#epochs.includes(body.epoch)) return; // a late message of an ended epoch
      this.#newEpoch(body.epoch);
    }
    if (body.type === 'welcome') {
      this.#welcomed(topic, body);
      this.#since ||= body.offset ?? 0;
      return this.#arrived(body.offset ?? 0);
    }
    if (body.type === 'refused') {
      const { prefix, role, fault } = body.data;
      if (this.subscriptions.includes(prefix)) throw new SubscriptionRefused(prefix, role, fault);
      return;
    }
    if (body.type === 'heartbeat' && topic.startsWith(this.#root + HEARTBEAT)) {
      this.#whole ||= body.data.for === undefined;
      if (this.#whole && body.data.for !== undefined) return; // for a client that may see less
      this.#heartbeatCame(body);
      this.#arrived(body.data.offset ?? 0);
    }
    const prefix = this.#under(topic);
    if (!prefix) return;
    if (body.seq === undefined) return this.#delivery.tell({ event: 'message', topic, body });
    const stream = prefix.stream(this.#streamOf(topic));
    if (stream.isNext(body.seq)) return stream.apply({ topic, body });
    stream.kept.push({ topic, body });
    if (stream.found) stream.place(stream.found);
    stream.advance();
    this.#arrived(body.offset ?? 0);
  }

  /**
   * Notes that all messages up to this offset have arrived, or are lost.
   * @param {number} offset
   */
  #arrived(offset) {
    if (offset <= this.#delivery.offset) return;
    this.#delivery.offset = offset;
    for (const prefix of this.#prefixes) prefix.arrived();
  }

  /**
   * @param {Request} request  The command that `request` returned.
   * @param {Reply} reply
   */
  answered(request, reply) {
    if (request !== this.#request) return;
    this.#request = null;
    // A reply may show a restart first, while messages of the old epoch still wait in the other socket.
    if (reply.epoch === this.epoch) request.answered(reply);
    else if (!this.#epochs.includes(reply.epoch)) this.#awaited = reply.epoch;
  }

  /** Notes that no heartbeat has come for three times its interval. */
  silent() {
    if (!this.#down) this.#delivery.tell({ event: 'down' });
    this.#down = true;
  }

  // --- welcomes, heartbeats, epochs ---------------------------------------------------------------------------------

  /** @param {number} epoch */
  #newEpoch(epoch) {
    const first = this.epoch === 0;
    for (const prefix of this.#prefixes) prefix.end(this.#since);
    const seen = this.epoch;
    this.#delivery.epoch = epoch;
    this.#epochs = [...this.#epochs.slice(1 - EPOCHS), epoch];
    if (this.#awaited === epoch || !first) this.#awaited = 0;
    this.#delivery.offset = this.#since = 0;
    this.#beat = null;
    this.#request = null;
    this.#delivery.gaps.clear();
    for (const prefix of this.#prefixes) prefix.restart(seen);
    if (!first) this.#delivery.tell({ event: 'epoch', epoch });
  }

  /** @param {string | undefined} name */
  #storeIs(name) {
    if (name === undefined) return;
    const { name: before, epoch } = this.#store;
    this.#store = { name, epoch: this.epoch };
    if (before === '' || name === before) return;
    const between = this.#epochs.slice(this.#epochs.indexOf(epoch) + 1);
    for (const prefix of this.#prefixes) prefix.renew(between);
    this.#delivery.tell({ event: 'store', store: name });
  }

  /**
   * @param {string} topic
   * @param {Body} body
   */
  #welcomed(topic, body) {
    if (body.heartbeat) this.heartbeat = body.heartbeat;
    this.#beat ??= body.beat ?? null;
    this.#storeIs(body.store);
    this.#prefixes.find(({ text }) => text === topic)?.welcome();
  }

  /** @param {Body} body */
  #heartbeatCame({ data }) {
    this.beats += 1;
    this.#storeIs(data.store?.name);
    // Only three heartbeats name a changed stream that is not durable. After more missed heartbeats, a snapshot of all
    // prefixes is requested.
    const missed = this.#beat !== null && data.beat > this.#beat + 3;
    this.#beat = data.beat;
    if (this.#down || missed) {
      this.#request = null;
      for (const prefix of this.#prefixes) prefix.askAgain();
    }
    if (this.#down) this.#delivery.tell({ event: 'up' });
    this.#down = false;
    for (const prefix of this.#prefixes) prefix.wait();
    for (const [name, last] of Object.entries(data.seqs ?? {})) {
      const prefix = this.#under(name);
      // A snapshot may take longer than a heartbeat interval, so its pages may be older than this heartbeat.
      if (prefix?.whole && prefix.welcomed) prefix.stream(name).hear(last);
    }
  }

  // --- commands -----------------------------------------------------------------------------------------------------

  /** @returns {Request | null} */
  #wanted() {
    for (const prefix of this.#prefixes) {
      const request = prefix.request();
      if (request) return request;
    }
    const [stream] = this.#delivery.gaps;
    return stream ? gapRequest(stream) : null;
  }

  // --- topics -------------------------------------------------------------------------------------------------------

  /**
   * @param {string} topic
   * @returns {Prefix | undefined}
   */
  #under(topic) {
    return this.#prefixes.find(({ text }) => topic.startsWith(text));
  }

  /** @param {string} topic */
  #streamOf(topic) {
    const second = topic.indexOf('.', this.#root.length) + 1;
    return topic.slice(0, topic.indexOf('.', second) + 1);
  }
}
